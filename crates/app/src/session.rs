//! What a command is given: the settings, how to speak, and a client that is made when needed.

use std::path::PathBuf;

use pentad_model::Secret;
use tokio::sync::OnceCell;

use crate::{
    client::{Answer, Call, Client},
    config::Config,
    failure::{Exit, Failure},
    output::Output,
    passphrase,
    wiring::{self, Place},
};

/// One run of the program.
pub(crate) struct Session {
    pub(crate) config: Config,
    pub(crate) output: Output,
    client: OnceCell<Client>,
}

impl Session {
    pub(crate) fn new(config: Config, output: Output) -> Self {
        Self {
            config,
            output,
            client: OnceCell::new(),
        }
    }

    /// The client: of the server at `client.address`, else of this process.
    pub(crate) async fn client(&self) -> Result<&Client, Failure> {
        self.client.get_or_try_init(|| self.connect()).await
    }

    /// Asks the API.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, Failure> {
        self.client().await?.send(call).await
    }

    /// Where the store lies.
    pub(crate) fn place(&self) -> Result<Place, Failure> {
        Place::of(&self.config)
    }

    /// Uses a system that is running already.
    pub(crate) fn adopt(&self, client: Client) {
        // There is none yet: the caller has just made the store.
        let _ = self.client.set(client);
    }

    /// Stops what was started.
    pub(crate) async fn close(&self) {
        if let Some(Client::Local(local)) = self.client.get() {
            wiring::stop(&local.pentad).await;
        }
    }

    async fn connect(&self) -> Result<Client, Failure> {
        let settings = &self.config.client;
        if settings.address.is_empty() {
            let pentad = wiring::open(&self.place()?).await?;
            let local = |tenant| Client::local(pentad.clone(), wiring::local_user(), tenant);
            if let Err(failure) = known_tenant(&local("default"), &settings.tenant).await {
                wiring::stop(&pentad).await;
                return Err(failure);
            }
            return Ok(local(&settings.tenant));
        }
        let ca_cert = Some(settings.ca_cert.as_path()).filter(|path| !path.as_os_str().is_empty());
        Client::network(&settings.address, &settings.tenant, self.token()?, ca_cert)
    }

    /// The token: from the environment, a file, or what a login kept. Never from an argument.
    fn token(&self) -> Result<Option<Secret>, Failure> {
        if let Ok(token) = std::env::var("PENTAD_TOKEN")
            && !token.is_empty()
        {
            return Ok(Some(Secret::new(token.trim())));
        }
        let named = Some(self.config.client.token_file.clone());
        let named = named.filter(|path: &PathBuf| !path.as_os_str().is_empty());
        if let Some(path) = named {
            return passphrase::from_file(&path).map(Some);
        }
        match Config::kept_token().map(|path| passphrase::from_file(&path)) {
            None => Ok(None),
            Some(Ok(token)) => Ok(Some(token)),
            Some(Err(failure)) if failure.exit == Exit::Missing => Ok(None),
            Some(Err(failure)) => Err(failure),
        }
    }
}

/// A tenant that nobody made would look like an empty one. (A server refuses its tokens.)
async fn known_tenant(system: &Client, tenant: &str) -> Result<(), Failure> {
    if tenant == "default" {
        return Ok(());
    }
    let mut after: Option<String> = None;
    loop {
        let call = Call::get("/v1/tenants")
            .query("limit", Some(1000))
            .query("after", after.as_ref());
        let page = system.send(call).await?.json()?;
        let mut names = page["items"].as_array().into_iter().flatten();
        if names.any(|name| name.as_str() == Some(tenant)) {
            return Ok(());
        }
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            let message = format!("tenant `{tenant}` does not exist");
            return Err(Failure::new(Exit::Missing, message).hint(
                "`pentad tenant list` shows what there is, `pentad tenant create` makes one",
            ));
        }
    }
}
