use clap::ValueEnum;
use pentad_keys::root::passphrase::Kdf;
use serde_json::json;

use crate::{
    client::{Call, Client},
    failure::Failure,
    session::Session,
    value::Issued,
    wiring,
};

/// Make a store: its directory, its root key, and the first admin token
///
/// The root key is a file beside the store, or comes from a passphrase. Without it nothing can be
/// opened, by anybody: keep a copy of it elsewhere.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad init
  pentad init --dir /var/lib/pentad
  pentad init --passphrase
  PENTAD_PASSPHRASE_FILE=/run/pass pentad init --passphrase --passphrase-kdf argon2id")]
pub(super) struct Args {
    /// Derive the root key from a passphrase instead of making a key file
    #[arg(long)]
    passphrase: bool,
    /// The slow function for it
    #[arg(long, value_enum, requires = "passphrase", default_value = "scrypt")]
    passphrase_kdf: Function,
    /// Make no admin token
    #[arg(long)]
    no_token: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Function {
    Scrypt,
    Pbkdf2,
    Argon2id,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let place = session.place()?;
        let kdf = self.passphrase.then_some(match self.passphrase_kdf {
            Function::Scrypt => Kdf::SCRYPT,
            Function::Pbkdf2 => Kdf::PBKDF2,
            Function::Argon2id => Kdf::ARGON2ID,
        });
        wiring::initialise(&place, kdf).await?;
        let out = session.output;
        let (dir, key) = (place.dir.display().to_string(), place.key_file.display().to_string());
        let mut issued = None;
        if !self.no_token {
            let pentad = wiring::open(&place).await?;
            session.adopt(Client::local(pentad, wiring::local_user(), "default"));
            let body = json!({"name": "first-admin", "roles": ["admin"]});
            let answer = session.send(Call::post("/v1/tokens").json(&body)?).await?;
            issued = Some(answer.parse::<Issued>()?.into_secret());
        }
        let token = issued.as_ref().and_then(|token| token.expose_str());
        if out.json {
            let key_file = kdf.is_none().then_some(key);
            return out.value(&json!({"dir": dir, "key_file": key_file, "token": token}));
        }
        let mut facts = vec![("store", dir.clone())];
        match kdf {
            None => facts.push(("root key", format!("{key}   keep a copy elsewhere"))),
            Some(_) => facts.push(("root key", "from the passphrase".to_owned())),
        }
        if let Some(token) = token {
            facts.push(("admin token", format!("{token}   shown this once")));
        }
        out.facts(&facts)?;
        // Where it is looked for anyway need not be said.
        let given = std::env::args_os().any(|it| it.to_string_lossy().starts_with("--dir"));
        let pentad = if given { format!("pentad --dir {dir}") } else { "pentad".to_owned() };
        out.note(format!(
            "\nNext:\n  {pentad} put demo/password --generate     store something\n  \
             {pentad} server                           serve others\n  \
             export PENTAD_ADDR=http://127.0.0.1:8277 PENTAD_TOKEN=…   talk to that server"
        ));
        Ok(())
    }
}
