//! Root becomes somebody without rights.

use std::os::unix::fs::chown;

use nix::unistd;
use nix::unistd::Gid;
use nix::unistd::Group;
use nix::unistd::Uid;
use nix::unistd::User;

use crate::config::Config;
use crate::server::build;
use crate::server::harden::HardenError;

pub(super) fn drop_root(config: &Config) -> Result<(), HardenError> {
    let Some(name) = &config.hardening.user else {
        if unistd::geteuid().is_root() {
            tracing::warn!("it runs as root; name a user to become in `hardening.user`");
        }
        return Ok(());
    };
    if !unistd::geteuid().is_root() {
        return Ok(());
    }
    let failed = |errno| HardenError::User(name.clone(), errno);
    let user = User::from_name(name).map_err(failed)?;
    let user = user.ok_or_else(|| HardenError::NoUser(name.clone()))?;
    let group = group_of(config, &user)?;
    give_directory(config, &user, group)?;
    // In this order: who is no longer root may not change groups.
    unistd::setgroups(&[group]).map_err(failed)?;
    unistd::setresgid(group, group, group).map_err(failed)?;
    unistd::setresuid(user.uid, user.uid, user.uid).map_err(failed)?;
    if unistd::setuid(Uid::from_raw(0)).is_ok() {
        return Err(HardenError::User(name.clone(), nix::errno::Errno::EPERM));
    }
    tracing::info!(user = %name, "root was given up");
    Ok(())
}

fn group_of(config: &Config, user: &User) -> Result<Gid, HardenError> {
    let Some(name) = &config.hardening.group else {
        return Ok(user.gid);
    };
    let group = Group::from_name(name).map_err(|errno| HardenError::User(name.clone(), errno))?;
    let group = group.ok_or_else(|| HardenError::NoGroup(name.clone()))?;
    Ok(group.gid)
}

/// A data directory that root makes on the first start belongs to whom it is for; one that is there stays as it is.
fn give_directory(config: &Config, user: &User, group: Gid) -> Result<(), HardenError> {
    let directory = &config.state.data_directory;
    if directory.exists() {
        return Ok(());
    }
    let failed = |error| HardenError::Directory(user.name.clone(), error);
    build::make_directory(directory).map_err(failed)?;
    chown(directory, Some(user.uid.as_raw()), Some(group.as_raw())).map_err(failed)
}
