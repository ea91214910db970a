//! Seccomp: system calls that a proxy has no use for, and somebody who has taken it over would.
//!
//! A list of what is denied, not of what is allowed: a libc that asks for something new must not stop logins. They fail with
//! EPERM, as if somebody without rights had tried.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;

/// Denied whatever the arguments.
const DENIED: &[libc::c_long] = &[
    // other programs, and other processes
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_open,
    // who we are, and where
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    // file systems
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_quotactl,
    libc::SYS_mknodat,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    // the kernel
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_personality,
    libc::SYS_nfsservctl,
    // the clock and the name of the machine
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
];

/// The kinds of sockets that are made: the daemon's own, clients' and backends', and what the name service asks the kernel.
const FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

pub(super) fn filter() -> Result<(), String> {
    let program = program().map_err(|error| error.to_string())?;
    seccompiler::apply_filter(&program).map_err(|error| error.to_string())
}

fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let denied = DENIED.iter().map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = denied.collect();
    rules.insert(libc::SYS_socket, vec![other_family()?]);
    let denied = u32::try_from(libc::EPERM).unwrap_or(1);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(denied),
        std::env::consts::ARCH.try_into()?,
    )?;
    filter.try_into()
}

fn other_family() -> Result<SeccompRule, seccompiler::BackendError> {
    let is_not = |family: &libc::c_int| {
        let family = u64::try_from(*family).unwrap_or_default();
        SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, family)
    };
    SeccompRule::new(FAMILIES.iter().map(is_not).collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::TcpListener;
    use std::process::Command;
    use std::thread;

    use socket2::Domain;
    use socket2::Socket;
    use socket2::Type;

    use super::*;

    /// It holds for the thread that asks for it: the other tests go on without.
    #[test]
    fn a_filtered_thread_runs_no_program_and_makes_no_odd_socket() {
        let filtered = thread::spawn(|| {
            filter().unwrap();
            let run = Command::new("/bin/true").spawn().map(|_| ());
            let odd = Socket::new(Domain::PACKET, Type::RAW, None).map(|_| ());
            (run, odd, TcpListener::bind("127.0.0.1:0").map(|_| ()))
        });
        let (run, odd, usual) = filtered.join().unwrap();
        assert_eq!(run.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(odd.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        usual.unwrap();
    }

    #[test]
    fn the_filter_compiles_for_this_machine() {
        assert!(program().unwrap().len() > DENIED.len());
    }
}
