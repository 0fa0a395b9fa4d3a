//! `qemu.args`: how the board is emulated, one argument a line, to be run in the folder of the image.

use super::spec::Spec;

/// The lines of the file; `kernel` is the file it starts. Names between @ are for who runs it: ports on the loopback interface, paths of sockets.
pub(crate) fn args(spec: &Spec, kernel: &str) -> String {
    let append = [Some(spec.kernel.command_line.as_str()), spec.qemu.append.as_deref()];
    let append = append.into_iter().flatten().collect::<Vec<_>>().join(" ");
    let mut args: Vec<&str> = vec![
        "-machine",
        &spec.qemu.machine,
        "-m",
        &spec.qemu.memory,
        "-display",
        "none",
        "-monitor",
        "none",
        "-kernel",
        kernel,
        "-dtb",
        "board.dtb",
        "-initrd",
        "initrd",
        "-append",
        &append,
    ];
    if spec.nor.is_some() {
        args.extend(["-drive", "file=flash.img,if=mtd,format=raw"]);
    }
    if spec.emmc.is_some() {
        args.extend(["-drive", "file=emmc.img,if=sd,index=2,format=raw"]);
    }
    args.extend([
        "-nic",
        "user,hostfwd=tcp:127.0.0.1:@HTTPS_PORT@-:443,hostfwd=udp:127.0.0.1:@IPMI_PORT@-:623",
        "-qmp",
        "unix:@QMP@,server=on,wait=off",
        "-chardev",
        "socket,id=console,path=@CONSOLE@,server=on,wait=off,logfile=@CONSOLE@.log",
        "-serial",
        "chardev:console",
    ]);
    args.extend(spec.qemu.args.iter().map(String::as_str));
    args.join("\n") + "\n"
}
