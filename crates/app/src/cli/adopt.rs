use pentad_model::Path;

use super::put::{About, show};
use crate::{
    client::{Call, at},
    failure::Failure,
    session::Session,
    value::{Source, WithValue},
};

/// Take over an account that exists, without resetting it
///
/// The value must log in at the target, and a random one must not. For a credential that is stored
/// already this is how drift is mended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  pentad adopt prod/orders/db --kind database --target pg --account orders < password")]
pub(super) struct Args {
    /// Where to store it
    path: Path,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    about: About,
}

impl Args {
    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let value = self.source.read(&format!("Value of {} that works now", self.path))?;
        let Some(value) = value else {
            return Err(Failure::usage("give the value that works now; a made one can't")
                .hint("`pentad put --generate` and `pentad rotate` set a new one"));
        };
        let content = self.about.content()?;
        let call = Call::post(at("adopt", self.path.as_str()))
            .json(&WithValue::new(&content, Some(&value)))?;
        let answer = session.send(call).await.map_err(|failure| match failure.status() {
            Some(502) if failure.message.contains("refuses this value") => failure.hint(
                "give the password that logs in there now; nothing was stored, and nothing was \
                 changed at the target",
            ),
            Some(502) => {
                let target = content.target().unwrap_or("NAME").to_owned();
                failure.hint(format!("`pentad target check {target}` says what is wrong there"))
            }
            _ => failure,
        })?;
        show(session, &answer.json()?)
    }
}
