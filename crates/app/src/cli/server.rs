use std::{path::PathBuf, sync::Arc};

use pentad_api::trace::Traces;

use crate::{
    config::Config,
    failure::Failure,
    server,
    session::Session,
    telemetry::{self, traces::Exporter},
    wiring,
};

/// Serve the API
///
/// Stops in good order on SIGTERM or SIGINT. Beyond loopback it speaks TLS only: with the
/// certificate that is given, else with a self-signed one whose fingerprint is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  pentad server
  pentad server --listen 127.0.0.1:0     # any free port; <dir>/address says which
  pentad server --listen 0.0.0.0:8277 --tls-cert chain.pem --tls-key key.pem
  pentad server --log-format json --log-level info")]
pub(super) struct Args {
    /// Where to listen [default: 127.0.0.1:8277]
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// The certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// error, warn, info, debug, trace, or a filter [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// The form of the log
    #[arg(long, value_enum)]
    log_format: Option<telemetry::Format>,
}

impl Args {
    /// Lays the options over the configuration.
    pub(super) fn settle(&self, config: &mut Config) {
        let server = &mut config.server;
        if let Some(listen) = &self.listen {
            server.listen.clone_from(listen);
        }
        if let (Some(cert), Some(key)) = (&self.tls_cert, &self.tls_key) {
            server.tls_cert.clone_from(cert);
            server.tls_key.clone_from(key);
        }
        if let Some(level) = &self.log_level {
            config.log.level.clone_from(level);
        }
        if config.log.level.is_empty() {
            "info".clone_into(&mut config.log.level);
        }
        if let Some(format) = self.log_format {
            config.log.format = format;
        }
        // It works on its directory whatever the environment says of other servers.
        config.client.address.clear();
    }

    pub(super) async fn run(self, session: &Session) -> Result<(), Failure> {
        let config = &session.config;
        let exporter = Exporter::of(&config.traces)?;
        telemetry::start(&config.log.level, config.log.format, exporter.as_deref())?;
        let place = session.place()?;
        let pentad = wiring::open(&place).await?;
        let traces = exporter.clone().map(|exporter| exporter as Arc<dyn Traces>);
        let settings = &config.server;
        let served =
            server::serve(pentad.clone(), &place, settings, traces, session.output).await;
        wiring::stop(&pentad).await;
        if let Some(exporter) = exporter {
            exporter.finish();
        }
        tracing::info!("stopped");
        served
    }
}
