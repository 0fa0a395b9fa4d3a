//! Which calls a daemon needs, and which nobody makes who means well.
#![allow(clippy::wildcard_imports, reason = "the numbers of some two hundred system calls")]

use std::collections::BTreeMap;

use linux_raw_sys::general::*;

use super::Groups;
use super::bpf::{Test, Verdict};

/// `AUDIT_ARCH_…` of `linux/audit.h`: the machine's number in ELF, with bits for 64 bits and for low bytes first.
#[cfg(target_arch = "x86_64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_0000 | 62;
#[cfg(target_arch = "aarch64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_0000 | 183;
#[cfg(target_arch = "riscv64")]
pub(super) const ARCHITECTURE: u32 = 0xc000_0000 | 243;
#[cfg(target_arch = "arm")]
pub(super) const ARCHITECTURE: u32 = 0x4000_0000 | 40;

// What is compared below, by linux/socket.h, linux/sched.h, asm-generic/mman.h, linux/prctl.h, asm-generic/ioctls.h.
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
/// The bits of a socket's type that are no flags.
const SOCK_TYPE: u32 = 0xf;
const THREAD: u32 = 0x0001_0000;
const EXECUTABLE: u32 = 4;
/// PR_GET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_CAPBSET_READ, PR_GET_NO_NEW_PRIVS, PR_SET_VMA, PR_GET_AUXV.
const PRCTL: [u32; 7] = [3, 15, 16, 23, 39, 0x5356_4d41, 0x4155_5856];
/// TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
const IOCTL: [u32; 6] = [0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451];
/// I2C_SLAVE and I2C_RDWR. Not among them: to speak to a device behind its driver's back (I2C_SLAVE_FORCE).
const IOCTL_I2C: [u32; 2] = [0x0703, 0x0707];
/// GPIO_V2_LINE_GET_VALUES_IOCTL.
const IOCTL_LEVELS: u32 = 0xc010_b40e;
/// IPMI_BMC_IOCTL_SET_SMS_ATN, which BT calls BT_BMC_IOCTL_SMS_ATN, and IPMI_BMC_IOCTL_CLEAR_SMS_ATN.
const IOCTL_ATTENTION: [u32; 2] = [0xb100, 0xb101];
/// TCSETS, TCSETSW, TCSETSF, TCSBRK, TCFLSH, TCGETS2, TCSETS2, TCSETSW2, TCSETSF2. Not among them: to type on a terminal (TIOCSTI), to make it one's own
/// (TIOCSCTTY).
const IOCTL_TERMINALS: [u32; 9] =
    [0x5402, 0x5403, 0x5404, 0x5409, 0x540b, 0x802c_542a, 0x402c_542b, 0x402c_542c, 0x402c_542d];
/// The bits of an ioctl's number that say whose it is, and the owners: GPIO chips, real-time clocks, video.
const IOCTL_OWNER: u32 = 0xff00;
const IOCTL_GPIO: u32 = 0xb400;
const IOCTL_CLOCKS: u32 = 0x7000;
const IOCTL_VIDEO: u32 = 0x5600;

/// What every daemon may do: files, memory, threads, waiting, time, and sockets as a client.
const ALL: &[u32] = &[
    // Files that are open.
    __NR_read,
    __NR_write,
    __NR_readv,
    __NR_writev,
    __NR_pread64,
    __NR_pwrite64,
    __NR_preadv,
    __NR_pwritev,
    __NR_preadv2,
    __NR_pwritev2,
    __NR_close,
    __NR_close_range,
    __NR_lseek,
    __NR_fstat,
    __NR_fcntl,
    __NR_flock,
    __NR_fsync,
    __NR_fdatasync,
    __NR_ftruncate,
    __NR_fallocate,
    __NR_fchmod,
    __NR_getdents64,
    __NR_dup,
    __NR_dup3,
    __NR_pipe2,
    __NR_copy_file_range,
    __NR_sendfile,
    __NR_splice,
    __NR_fstatfs,
    // Names. Landlock and the owner of a file say which.
    __NR_openat,
    __NR_statx,
    __NR_faccessat,
    __NR_faccessat2,
    __NR_readlinkat,
    __NR_mkdirat,
    __NR_unlinkat,
    __NR_renameat2,
    __NR_fchmodat,
    __NR_statfs,
    __NR_getcwd,
    __NR_umask,
    // Memory.
    __NR_munmap,
    __NR_mremap,
    __NR_brk,
    __NR_madvise,
    __NR_membarrier,
    // Threads.
    __NR_set_robust_list,
    __NR_rseq,
    __NR_set_tid_address,
    __NR_futex,
    __NR_sched_yield,
    __NR_sched_getaffinity,
    __NR_sched_getattr,
    __NR_sched_getparam,
    __NR_sched_getscheduler,
    __NR_gettid,
    __NR_getcpu,
    __NR_exit,
    __NR_exit_group,
    __NR_tkill,
    __NR_restart_syscall,
    // Signals of its own.
    __NR_rt_sigaction,
    __NR_rt_sigprocmask,
    __NR_rt_sigreturn,
    __NR_sigaltstack,
    // Waiting.
    __NR_epoll_create1,
    __NR_epoll_ctl,
    __NR_epoll_pwait,
    __NR_epoll_pwait2,
    __NR_ppoll,
    __NR_pselect6,
    __NR_eventfd2,
    __NR_timerfd_create,
    __NR_timerfd_settime,
    __NR_timerfd_gettime,
    // Time.
    __NR_clock_gettime,
    __NR_clock_getres,
    __NR_clock_nanosleep,
    __NR_nanosleep,
    __NR_gettimeofday,
    // Who and where it is.
    __NR_getpid,
    __NR_getppid,
    __NR_getuid,
    __NR_geteuid,
    __NR_getgid,
    __NR_getegid,
    __NR_getresuid,
    __NR_getresgid,
    __NR_getgroups,
    __NR_capget,
    __NR_getpriority,
    __NR_getrusage,
    __NR_uname,
    __NR_sysinfo,
    __NR_getrandom,
    // Sockets, once there are some.
    __NR_connect,
    __NR_getsockopt,
    __NR_setsockopt,
    __NR_getsockname,
    __NR_getpeername,
    __NR_sendto,
    __NR_recvfrom,
    __NR_sendmsg,
    __NR_recvmsg,
    __NR_sendmmsg,
    __NR_recvmmsg,
    __NR_shutdown,
];

/// The same by older names, as C libraries call them.
#[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
const OLD: &[u32] = &[
    __NR_open,
    __NR_stat,
    __NR_lstat,
    __NR_access,
    __NR_readlink,
    __NR_mkdir,
    __NR_rmdir,
    __NR_unlink,
    __NR_rename,
    __NR_renameat,
    __NR_chmod,
    __NR_getdents,
    __NR_dup2,
    __NR_pipe,
    __NR_epoll_wait,
    __NR_poll,
];
#[cfg(target_arch = "x86_64")]
const NATIVE: &[u32] =
    &[__NR_newfstatat, __NR_fadvise64, __NR_sync_file_range, __NR_select, __NR_time, __NR_getrlimit];
#[cfg(target_arch = "aarch64")]
const OLD: &[u32] = &[__NR_renameat];
#[cfg(target_arch = "aarch64")]
const NATIVE: &[u32] = &[__NR_newfstatat, __NR_fadvise64, __NR_sync_file_range, __NR_getrlimit];
#[cfg(target_arch = "riscv64")]
const OLD: &[u32] = &[];
#[cfg(target_arch = "riscv64")]
const NATIVE: &[u32] =
    &[__NR_newfstatat, __NR_fadvise64, __NR_sync_file_range, __NR_riscv_hwprobe, __NR_riscv_flush_icache];
/// 32 bits: a second name for what has a wide number of a user, a length, or a time.
#[cfg(target_arch = "arm")]
const NATIVE: &[u32] = &[
    __NR_getuid32,
    __NR_geteuid32,
    __NR_getgid32,
    __NR_getegid32,
    __NR_getresuid32,
    __NR_getresgid32,
    __NR_getgroups32,
    __NR__llseek,
    __NR_fcntl64,
    __NR_fstat64,
    __NR_stat64,
    __NR_lstat64,
    __NR_fstatat64,
    __NR_statfs64,
    __NR_fstatfs64,
    __NR_ftruncate64,
    __NR_sendfile64,
    __NR_arm_fadvise64_64,
    __NR_sync_file_range2,
    __NR__newselect,
    __NR_sigreturn,
    __NR_ugetrlimit,
    __NR_clock_gettime64,
    __NR_clock_getres_time64,
    __NR_clock_nanosleep_time64,
    __NR_futex_time64,
    __NR_ppoll_time64,
    __NR_pselect6_time64,
    __NR_recvmmsg_time64,
    __NR_timerfd_settime64,
    __NR_timerfd_gettime64,
    __NR_send,
    __NR_recv,
    __ARM_NR_cacheflush,
    __ARM_NR_set_tls,
];

/// What maps memory.
#[cfg(target_arch = "arm")]
const MMAP: u32 = __NR_mmap2;
#[cfg(not(target_arch = "arm"))]
const MMAP: u32 = __NR_mmap;

/// Who makes one of these has been taken over: other processes' memory, the kernel's, its keys, mounts, other programs.
const HOSTILE: &[u32] = &[
    __NR_ptrace,
    __NR_process_vm_readv,
    __NR_process_vm_writev,
    __NR_process_madvise,
    __NR_pidfd_getfd,
    __NR_kcmp,
    __NR_bpf,
    __NR_perf_event_open,
    __NR_userfaultfd,
    __NR_init_module,
    __NR_finit_module,
    __NR_delete_module,
    __NR_kexec_load,
    __NR_reboot,
    __NR_syslog,
    __NR_keyctl,
    __NR_add_key,
    __NR_request_key,
    __NR_mount,
    __NR_umount2,
    __NR_pivot_root,
    __NR_chroot,
    __NR_move_mount,
    __NR_open_tree,
    __NR_fsopen,
    __NR_fsconfig,
    __NR_fsmount,
    __NR_fspick,
    __NR_mount_setattr,
    __NR_setns,
    __NR_unshare,
    __NR_swapon,
    __NR_swapoff,
    __NR_open_by_handle_at,
    __NR_acct,
    __NR_quotactl,
    __NR_execve,
    __NR_execveat,
];
#[cfg(not(target_arch = "arm"))]
const HOSTILE_NATIVE: &[u32] = &[
    __NR_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    __NR_iopl,
    #[cfg(target_arch = "x86_64")]
    __NR_ioperm,
    #[cfg(target_arch = "x86_64")]
    __NR_modify_ldt,
];
#[cfg(target_arch = "arm")]
const HOSTILE_NATIVE: &[u32] = &[];

/// What a process with these groups and this number may do.
pub(super) fn verdicts(groups: Groups, process: u32) -> BTreeMap<u32, Verdict> {
    let mut all = Verdicts(BTreeMap::new());
    all.kill(HOSTILE);
    all.kill(HOSTILE_NATIVE);
    for calls in [ALL, OLD, NATIVE] {
        all.allow(calls);
    }
    // Nothing becomes a program after the start.
    for call in [MMAP, __NR_mprotect] {
        all.when(call, &[Test::bits(2, EXECUTABLE, 0)]);
    }
    // New threads. clone3 hides what it makes in memory: it is not there, and C libraries use clone then.
    all.when(__NR_clone, &[Test::bits(0, THREAD, THREAD)]);
    // Its own end, as by abort().
    for call in [__NR_kill, __NR_tgkill] {
        all.when(call, &[Test::is(0, process)]);
    }
    // Limits are looked at, not set.
    all.when(__NR_prlimit64, &[Test::is(2, 0), Test::no_high(2)]);
    for option in PRCTL {
        all.when(__NR_prctl, &[Test::is(0, option)]);
    }
    for request in IOCTL {
        all.when(__NR_ioctl, &[Test::is(1, request)]);
    }
    for call in [__NR_socket, __NR_socketpair] {
        all.when(call, &[Test::is(0, AF_UNIX)]);
    }
    let inet = |all: &mut Verdicts, kind: u32| {
        for family in [AF_INET, AF_INET6] {
            all.when(__NR_socket, &[Test::is(0, family), Test::bits(1, SOCK_TYPE, kind)]);
        }
    };
    let ioctls_of = |all: &mut Verdicts, owner: u32| {
        all.when(__NR_ioctl, &[Test::bits(1, IOCTL_OWNER, owner)]);
    };
    inet(&mut all, SOCK_STREAM);
    if groups.contains(Groups::DATAGRAMS) {
        inet(&mut all, SOCK_DGRAM);
        all.allow(&[__NR_bind]);
    }
    if groups.contains(Groups::LISTEN) {
        all.allow(&[__NR_bind, __NR_listen, __NR_accept, __NR_accept4]);
    }
    if groups.contains(Groups::PRIORITY) {
        all.allow(&[__NR_sched_setattr]);
    }
    if groups.contains(Groups::GPIO) {
        ioctls_of(&mut all, IOCTL_GPIO);
    }
    if groups.contains(Groups::I2C) {
        for request in IOCTL_I2C {
            all.when(__NR_ioctl, &[Test::is(1, request)]);
        }
    }
    if groups.contains(Groups::LEVELS) {
        all.when(__NR_ioctl, &[Test::is(1, IOCTL_LEVELS)]);
    }
    if groups.contains(Groups::TERMINALS) {
        for request in IOCTL_TERMINALS {
            all.when(__NR_ioctl, &[Test::is(1, request)]);
        }
    }
    if groups.contains(Groups::NETWORK) {
        all.when(__NR_socket, &[Test::is(0, AF_NETLINK), Test::is(2, NETLINK_ROUTE)]);
        all.allow(&[__NR_bind]);
    }
    if groups.contains(Groups::CLOCK) {
        all.allow(&[__NR_clock_settime, __NR_clock_adjtime, __NR_adjtimex, __NR_settimeofday]);
        #[cfg(target_arch = "arm")]
        all.allow(&[__NR_clock_settime64, __NR_clock_adjtime64]);
        ioctls_of(&mut all, IOCTL_CLOCKS);
    }
    if groups.contains(Groups::VIDEO) {
        ioctls_of(&mut all, IOCTL_VIDEO);
    }
    if groups.contains(Groups::ATTENTION) {
        for request in IOCTL_ATTENTION {
            all.when(__NR_ioctl, &[Test::is(1, request)]);
        }
    }
    all.0
}

struct Verdicts(BTreeMap<u32, Verdict>);

impl Verdicts {
    fn kill(&mut self, calls: &[u32]) {
        self.0.extend(calls.iter().map(|call| (*call, Verdict::Kill)));
    }

    fn allow(&mut self, calls: &[u32]) {
        self.0.extend(calls.iter().map(|call| (*call, Verdict::Allow)));
    }

    /// One more case in which a call is made.
    fn when(&mut self, call: u32, tests: &[Test]) {
        if let Verdict::When(cases) = self.0.entry(call).or_insert(Verdict::When(Vec::new())) {
            cases.push(tests.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::bpf::tests::run;
    use super::super::bpf::{ALLOW, KILL, NOT_THERE, REFUSE, program};
    use super::*;

    const PROCESS: u32 = 4711;
    /// SOCK_RAW.
    const RAW: u64 = 3;

    /// What comes of a call; a second argument that is no use stays 0.
    fn answer(groups: Groups, call: u32, arguments: &[u64]) -> u32 {
        let program = program(ARCHITECTURE, &verdicts(groups, PROCESS)).unwrap();
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        run(&program, ARCHITECTURE, call, all)
    }

    fn everything() -> Groups {
        Groups::NAMES.iter().fold(Groups::empty(), |all, (group, _)| all.union(*group))
    }

    #[test]
    fn nobody_makes_a_call_that_only_serves_who_took_over() {
        for groups in [Groups::empty(), everything()] {
            for call in HOSTILE.iter().chain(HOSTILE_NATIVE) {
                assert_eq!(answer(groups, *call, &[]), KILL, "{call}");
            }
            // A new process, another's end, new code, limits of another.
            for (call, arguments) in [
                (__NR_clone, &[17][..]),
                (__NR_kill, &[1]),
                (__NR_kill, &[0xffff_ffff]),
                (__NR_tgkill, &[1, 1]),
                (MMAP, &[0, 4096, 5]),
                (__NR_mprotect, &[0, 4096, 7]),
                (__NR_prlimit64, &[1, 7, 1]),
                (__NR_prctl, &[22]),
                // I2C_SLAVE_FORCE.
                (__NR_ioctl, &[3, 0x0706]),
                // TIOCSTI types on a terminal.
                (__NR_ioctl, &[0, 0x5412]),
                // Packets of any kind, AF_PACKET and of IP.
                (__NR_socket, &[17, RAW]),
                (__NR_socket, &[u64::from(AF_INET), RAW]),
                // What the kernel's firewall and its audit listen to.
                (__NR_socket, &[u64::from(AF_NETLINK), RAW, 12]),
                (__NR_socket, &[u64::from(AF_NETLINK), RAW, 9]),
            ] {
                assert_eq!(answer(groups, call, arguments), REFUSE, "{call} {arguments:?}");
            }
            // Ways around the filter, rights, and what newer kernels bring.
            for call in [__NR_clone3, __NR_io_uring_setup, __NR_seccomp, __NR_setresuid, __NR_capset, 9_999] {
                assert_eq!(answer(groups, call, &[]), NOT_THERE, "{call}");
            }
        }
    }

    #[test]
    fn what_a_runtime_needs_is_there_for_everybody() {
        let stream = u64::from(SOCK_STREAM) | 0o2_004_000;
        for (call, arguments) in [
            (__NR_clone, &[0x3d_0f00][..]),
            (__NR_tgkill, &[u64::from(PROCESS), 5, 6]),
            (MMAP, &[0, 4096, 3]),
            (__NR_mprotect, &[0, 4096, 0]),
            (__NR_prlimit64, &[0, 7, 0, 0x7fff_0000]),
            (__NR_prctl, &[15, 0x7fff_0000]),
            (__NR_ioctl, &[3, 0x5421]),
            (__NR_socketpair, &[u64::from(AF_UNIX), stream]),
            (__NR_socket, &[u64::from(AF_UNIX), stream]),
            (__NR_socket, &[u64::from(AF_INET), stream]),
            (__NR_socket, &[u64::from(AF_INET6), stream]),
            (__NR_futex, &[0]),
            (__NR_openat, &[0]),
            (__NR_renameat2, &[0]),
            (__NR_restart_syscall, &[]),
        ] {
            assert_eq!(answer(Groups::empty(), call, arguments), ALLOW, "{call} {arguments:?}");
        }
    }

    #[test]
    fn each_group_opens_what_it_says_and_nothing_else() {
        let datagram = u64::from(SOCK_DGRAM) | 0o2_004_000;
        for (group, call, arguments) in [
            (Groups::DATAGRAMS, __NR_socket, &[u64::from(AF_INET6), datagram][..]),
            (Groups::LISTEN, __NR_listen, &[3, 128]),
            (Groups::PRIORITY, __NR_sched_setattr, &[0]),
            (Groups::GPIO, __NR_ioctl, &[3, 0xc250_b407]),
            (Groups::NETWORK, __NR_socket, &[u64::from(AF_NETLINK), RAW, u64::from(NETLINK_ROUTE)]),
            (Groups::CLOCK, __NR_clock_settime, &[0]),
            (Groups::CLOCK, __NR_ioctl, &[3, 0x4024_700a]),
            (Groups::I2C, __NR_ioctl, &[3, 0x0703, 0x58]),
            (Groups::I2C, __NR_ioctl, &[3, 0x0707]),
            (Groups::LEVELS, __NR_ioctl, &[3, 0xc010_b40e]),
            (Groups::TERMINALS, __NR_ioctl, &[3, 0x402c_542b]),
            (Groups::VIDEO, __NR_ioctl, &[3, 0xc0d0_5605]),
            (Groups::ATTENTION, __NR_ioctl, &[3, 0xb101]),
        ] {
            assert_eq!(answer(group, call, arguments), ALLOW, "{call} {arguments:?}");
            // Who has chips reads the levels of their lines, too.
            let wider = if group == Groups::LEVELS { Groups::GPIO } else { Groups::empty() };
            let others = Groups::from_bits(everything().bits() & !group.union(wider).bits());
            assert_ne!(answer(others, call, arguments), ALLOW, "{call} {arguments:?} without {group:?}");
        }
    }

    #[test]
    fn a_program_is_short() {
        let program = program(ARCHITECTURE, &verdicts(everything(), PROCESS)).unwrap();
        assert!(program.len() < 700, "{}", program.len());
    }
}
