//! The server, until it is told to stop.

use std::io::Write;

use clap::Args;

use super::Global;
use super::session::start;
use super::terminal::bold;

/// Run the server.
#[derive(Debug, Args)]
pub(super) struct Serve {
    /// Address and port [default: 127.0.0.1:7420]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
}

impl Serve {
    pub(super) async fn run(self, global: &Global) -> anyhow::Result<()> {
        let mut sources = global.sources()?;
        if let Some(listen) = self.listen {
            sources.flags.insert("server.listen".to_owned(), listen);
        }
        let config = crate::config::Config::load(&sources)?;
        crate::log::start();
        let data_dir = config.data_dir.clone();
        let server = start(&config).await?;
        let (keys, data) = (data_dir.join("keys"), data_dir.display());
        // Whoever reads the first line may have stopped reading: the server goes on.
        let _ = writeln!(
            std::io::stdout(),
            "{} at {}, data in {data}\nkeys: {keys}/default.key (tenant `default`), {keys}/operator.key",
            bold("ibid"),
            server.address(),
            keys = keys.display(),
        );
        told_to_stop().await?;
        Ok(server.shutdown().await?)
    }
}

/// Waits for Ctrl-C or a request to end.
pub(super) async fn told_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed?,
        _ = terminate.recv() => {}
    }
    Ok(())
}
