//! Seccomp: system calls that a proxy has no use for, and somebody who has taken it over would.
//!
//! A list of what is denied, not of what is allowed: a libc that asks for something new must not stop logins. They fail with
//! EPERM, as if somebody without rights had tried. `clone3` fails with ENOSYS, as on an old kernel: its flags lie in memory, which
//! no filter sees, and every libc goes back to `clone`, whose flags are looked at.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::BpfProgram;
use seccompiler::SeccompAction;
use seccompiler::SeccompCmpArgLen;
use seccompiler::SeccompCmpOp;
use seccompiler::SeccompCondition;
use seccompiler::SeccompFilter;
use seccompiler::SeccompRule;
use seccompiler::sock_filter;

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
    libc::SYS_kexec_file_load,
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

/// Flags of `clone` that make namespaces: in one of its own a process has rights again. (`CLONE_NEWTIME` is none of `clone`'s.)
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

pub(super) fn filter() -> Result<(), String> {
    for program in programs().map_err(|error| error.to_string())? {
        seccompiler::apply_filter(&program).map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The kernel asks all of them, and whatever one denies is denied.
fn programs() -> Result<Vec<BpfProgram>, seccompiler::BackendError> {
    let denied = DENIED.iter().map(|call| (*call, Vec::new()));
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = denied.collect();
    rules.insert(libc::SYS_socket, vec![other_family()?]);
    rules.insert(
        libc::SYS_clone,
        NAMESPACES.iter().map(makes_namespace).collect::<Result<_, _>>()?,
    );
    let absent = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let mut programs = vec![program(rules, libc::EPERM)?, program(absent, libc::ENOSYS)?];
    if cfg!(target_arch = "x86_64") {
        programs.push(no_x32());
    }
    Ok(programs)
}

/// What the rules match fails with an error; all else is allowed.
fn program(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    error: libc::c_int,
) -> Result<BpfProgram, seccompiler::BackendError> {
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        fails_with(error),
        std::env::consts::ARCH.try_into()?,
    )?;
    filter.try_into()
}

fn fails_with(error: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(u32::try_from(error).unwrap_or(1))
}

fn makes_namespace(flag: &libc::c_int) -> Result<SeccompRule, seccompiler::BackendError> {
    let flag = u64::try_from(*flag).unwrap_or_default();
    let is_set = SeccompCmpOp::MaskedEq(flag);
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Qword, is_set, flag)?;
    SeccompRule::new(vec![condition])
}

/// x32 passes for this architecture, and has numbers of its own for the same calls: a list of numbers would miss all of them.
fn no_x32() -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const IS_AT_LEAST: u16 = 0x35;
    const ANSWER: u16 = 0x06;
    /// `__X32_SYSCALL_BIT`
    const FIRST_OF_X32: u32 = 0x4000_0000;
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    vec![
        step(LOAD_NUMBER, 0, 0),
        step(IS_AT_LEAST, 1, FIRST_OF_X32),
        step(ANSWER, 0, fails_with(libc::EPERM).into()),
        step(ANSWER, 0, SeccompAction::Allow.into()),
    ]
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
            // By `clone`, since there is no `clone3` here.
            let thread = thread::Builder::new()
                .spawn(|| ())
                .map(|thread| thread.join().unwrap());
            thread.unwrap();
            (run, odd, TcpListener::bind("127.0.0.1:0").map(|_| ()))
        });
        let (run, odd, usual) = filtered.join().unwrap();
        assert_eq!(run.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(odd.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        usual.unwrap();
    }

    /// Filters itself as the first argument says, does a system call for each further one, and says how each failed. Ends with a
    /// child of its own, made as ever.
    const CHILD: &str = r#"
        my ($seccomp, $prctl, $programs) = splice @ARGV, 0, 3;
        syscall($prctl + 0, 38, 1, 0, 0, 0) == 0 or die "no_new_privs: $!";
        for my $program (split /,/, $programs) {
            my $code = pack "H*", $program;
            my $filter = pack "S x![8] P", length($code) / 8, $code;
            syscall($seccomp + 0, 1, 0, $filter) == 0 or die "seccomp: $!";
        }
        for my $call (@ARGV) {
            $! = 0;
            my ($number, @arguments) = map { $_ + 0 } split / /, $call;
            syscall($number, @arguments);
            print $! + 0, "\n";
        }
        my $child = fork;
        defined $child or die "fork: $!";
        exit 7 if !$child;
        waitpid $child, 0;
        print $? >> 8, "\n";
    "#;

    /// How system calls fail in a process of its own that is filtered; what its child says.
    fn in_a_child(calls: &[Vec<i64>]) -> Vec<i32> {
        let hex = |program: &BpfProgram| {
            let steps = program.iter().map(|step| {
                let code = u64::from(step.code.swap_bytes());
                let jumps = u64::from(step.jt) << 8 | u64::from(step.jf);
                format!("{code:04x}{jumps:04x}{:08x}", step.k.swap_bytes())
            });
            steps.collect::<String>()
        };
        let programs: Vec<String> = programs().unwrap().iter().map(hex).collect();
        let words = |call: &Vec<i64>| call.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let done = Command::new("perl")
            .args(["-e", CHILD])
            .args([libc::SYS_seccomp, libc::SYS_prctl].map(|number| number.to_string()))
            .arg(programs.join(","))
            .args(calls.iter().map(words))
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stdout).unwrap();
        said.lines().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn no_namespace_is_made_by_whichever_call_and_processes_and_threads_are() {
        // Together with this flag the kernel would not make it either, and say EINVAL.
        let clone = |flag: &libc::c_int| {
            vec![
                libc::SYS_clone,
                i64::from(*flag | libc::CLONE_SIGHAND),
                0,
                0,
                0,
                0,
            ]
        };
        let mut calls: Vec<_> = NAMESPACES.iter().map(clone).collect();
        calls.push(clone(&0));
        calls.push(vec![libc::SYS_clone3, 0, 0]);
        let mut expected = vec![libc::EPERM; NAMESPACES.len()];
        expected.extend([libc::EINVAL, libc::ENOSYS, 7]);
        assert_eq!(in_a_child(&calls), expected);
    }

    #[test]
    fn no_kernel_is_loaded_from_a_file_and_no_other_abi_is_spoken() {
        let mut calls = vec![vec![libc::SYS_kexec_file_load, -1, -1, 0, 0, 0]];
        if cfg!(target_arch = "x86_64") {
            calls.push(vec![0x4000_0000 | libc::SYS_getppid]);
            calls.push(vec![0x4000_0000 | 520, 0, 0, 0]); // execve
        }
        let mut expected = vec![libc::EPERM; calls.len()];
        expected.push(7);
        assert_eq!(in_a_child(&calls), expected);
    }

    #[test]
    fn the_filter_compiles_for_this_machine() {
        assert!(programs().unwrap()[0].len() > DENIED.len());
    }
}
