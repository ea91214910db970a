//! What the process gives up between binding its addresses and accepting the first connection: root, new rights, core dumps,
//! files that the configuration does not name, system calls that a proxy has no use for.
//!
//! Done by one thread, before there are others: Landlock holds for the thread that asks for it and those it makes. It never
//! goes on with less than was required.

mod files;
mod identity;
mod links;
mod syscalls;

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource;
use nix::sys::resource::Resource;
use thiserror::Error;

use crate::config::Config;
use crate::config::hardening::Enforce;

/// Why the process cannot be hardened as it must be.
#[derive(Debug, Error)]
pub enum HardenError {
    /// There is no such user.
    #[error("there is no user `{0}` to become; see `hardening.user`")]
    NoUser(String),
    /// There is no such group.
    #[error("there is no group `{0}`; see `hardening.group`")]
    NoGroup(String),
    /// The user cannot be become.
    #[error("root cannot become the user `{0}`")]
    User(String, #[source] Errno),
    /// The data directory cannot be given to the user.
    #[error("the data directory cannot be given to the user `{0}`")]
    Directory(String, #[source] io::Error),
    /// A setting that every kernel has is refused.
    #[error("{0} cannot be set")]
    Setting(&'static str, #[source] Errno),
    /// Landlock.
    #[error(
        "this kernel does not confine the process to its files as `hardening.landlock` requires: {0}; it takes Linux 5.13 with Landlock"
    )]
    Landlock(String),
    /// Seccomp.
    #[error("this kernel does not filter system calls as `hardening.seccomp` requires: {0}")]
    Seccomp(String),
}

/// Gives up what the configuration says. `file` is the configuration itself, where there is one. To be called once, with
/// every address bound and before there is a second thread.
///
/// # Errors
/// The user to become is not there, or something that is required is not in force.
pub fn harden(config: &Config, file: Option<&Path>) -> Result<(), HardenError> {
    identity::drop_root(config)?;
    let core = |errno| HardenError::Setting("the limit of core dumps", errno);
    resource::setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(core)?;
    // Its memory holds mail passwords for moments: nobody of the same user may look at it.
    prctl::set_dumpable(false).map_err(|errno| HardenError::Setting("PR_SET_DUMPABLE", errno))?;
    prctl::set_no_new_privs().map_err(|errno| HardenError::Setting("no_new_privs", errno))?;
    let confined = judge(config.hardening.landlock, "landlock", || {
        files::confine(config, file)
    });
    confined.map_err(HardenError::Landlock)?;
    judge(config.hardening.seccomp, "seccomp", syscalls::filter).map_err(HardenError::Seccomp)
}

/// Does it, and says what is missing where that is no reason to stop.
fn judge(
    enforce: Enforce,
    what: &'static str,
    ask: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    if enforce == Enforce::Off {
        tracing::warn!("{what} is switched off by the configuration");
        return Ok(());
    }
    match ask() {
        Ok(()) => Ok(()),
        Err(why) if enforce == Enforce::Required => Err(why),
        Err(why) => {
            tracing::warn!(
                why,
                "{what} is not in force, or not in full; see docs/operations.md"
            );
            Ok(())
        }
    }
}
