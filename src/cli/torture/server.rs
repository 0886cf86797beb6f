//! The server under torture: this program's `serve`, as a process of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};

use crate::cli::Global;

/// A running server. Dropping it kills it.
pub(super) struct Server {
    process: Child,
    address: String,
    log: PathBuf,
}

/// Where the server keeps its snapshots, unless a setting says otherwise.
pub(super) fn snapshots_of(data_dir: &Path) -> PathBuf {
    data_dir.join("torture-snapshots")
}

impl Server {
    /// Starts it over `data_dir`; returns once it listens.
    pub(super) fn start(global: &Global, data_dir: &Path, log: &Path) -> anyhow::Result<Server> {
        let program = std::env::current_exe().context("find this program")?;
        let stderr = File::create(log).with_context(|| format!("write {}", log.display()))?;
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data_dir);
        command.args(global.config.iter().flat_map(|file| [Path::new("--config"), file]));
        command.arg("--set").arg(format!("snapshots.target={}", snapshots_of(data_dir).display()));
        command.args(global.settings.iter().flat_map(|setting| ["--set", setting]));
        // What ends this process is not to reach the server first: it dies by our hand or not at all.
        command.process_group(0);
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
        let mut server =
            Server { process: process.context("start the server")?, address: String::new(), log: log.to_owned() };
        let stdout = server.process.stdout.take().context("the server's output is a pipe")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).context("read the server's first line")?;
        // `ibid at ADDRESS, data in FOLDER`
        let Some(address) = line.split(" at ").nth(1).and_then(|rest| rest.split(',').next()) else {
            bail!("the server did not start: {line}{}", fs::read_to_string(log).unwrap_or_default());
        };
        server.address = format!("http://{address}");
        Ok(server)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Kills it with SIGKILL. What it logged at level ERROR.
    pub(super) fn kill(mut self) -> anyhow::Result<Vec<String>> {
        if let Some(status) = self.process.try_wait().context("look after the server")? {
            bail!("the server ended by itself ({status}); its log is {}", self.log.display());
        }
        self.process.kill().context("kill the server")?;
        self.process.wait().context("wait for the server's end")?;
        let log = fs::read_to_string(&self.log).with_context(|| format!("read {}", self.log.display()))?;
        Ok(log.lines().filter(|line| line.contains("ERROR")).map(str::to_owned).collect())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
