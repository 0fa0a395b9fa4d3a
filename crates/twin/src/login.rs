//! Who answers on the serial console of a scripted host: a login and a shell of a few words.

/// Bytes of a line that are kept.
const LINE_MAX: usize = 256;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Login,
    Password,
    Shell,
}

/// The far end of the serial line while the operating system runs. It takes any name with any password.
#[derive(Clone, Debug, Default)]
pub struct Login {
    at: At,
    user: String,
    line: Vec<u8>,
}

impl Login {
    /// What is printed for what is typed.
    pub fn typed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for byte in bytes {
            match byte {
                b'\r' | b'\n' => {
                    out.extend_from_slice(b"\r\n");
                    let line = std::mem::take(&mut self.line);
                    self.entered(String::from_utf8_lossy(&line).trim(), &mut out);
                }
                // Ctrl-C: the line is forgotten.
                0x03 => {
                    self.line.clear();
                    out.extend_from_slice(b"^C\r\n");
                    self.prompt(&mut out);
                }
                0x7f | 0x08 => {
                    if self.line.pop().is_some() && self.at != At::Password {
                        out.extend_from_slice(b"\x08 \x08");
                    }
                }
                byte if self.line.len() < LINE_MAX => {
                    self.line.push(*byte);
                    if self.at != At::Password {
                        out.push(*byte);
                    }
                }
                _ => out.push(0x07),
            }
        }
        out
    }

    fn entered(&mut self, line: &str, out: &mut Vec<u8>) {
        match self.at {
            At::Login if line.is_empty() => {}
            At::Login => {
                self.user = line.to_owned();
                self.at = At::Password;
            }
            At::Password => {
                out.extend_from_slice(format!("Welcome, {}.\r\n", self.user).as_bytes());
                self.at = At::Shell;
            }
            At::Shell => self.command(line, out),
        }
        self.prompt(out);
    }

    fn command(&mut self, line: &str, out: &mut Vec<u8>) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let said = match word {
            "" => return,
            "echo" => rest.to_owned(),
            "whoami" => self.user.clone(),
            "uname" => "Linux twin 6.1.0-twin".to_owned(),
            // Many numbered lines, for who looks what becomes of them.
            "count" => {
                let count = rest.parse::<u32>().unwrap_or(1).min(100_000);
                for number in 1..=count {
                    out.extend_from_slice(format!("line {number}\r\n").as_bytes());
                }
                return;
            }
            "exit" => {
                self.at = At::Login;
                return;
            }
            word => format!("{word}: command not found"),
        };
        out.extend_from_slice(said.as_bytes());
        out.extend_from_slice(b"\r\n");
    }

    fn prompt(&self, out: &mut Vec<u8>) {
        let prompt = match self.at {
            At::Login => "twin login: ".to_owned(),
            At::Password => "Password: ".to_owned(),
            At::Shell => format!("{}@twin:~$ ", self.user),
        };
        out.extend_from_slice(prompt.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_logs_in_and_is_answered() {
        let mut login = Login::default();
        let mut say = |typed: &str| String::from_utf8(login.typed(typed.as_bytes())).unwrap();
        assert_eq!(say("ann\r"), "ann\r\nPassword: ");
        assert_eq!(say("secret\r"), "\r\nWelcome, ann.\r\nann@twin:~$ ", "a password is not echoed");
        assert_eq!(say("whoamx\x7fi\r"), "whoamx\x08 \x08i\r\nann\r\nann@twin:~$ ");
        assert_eq!(say("count 2\r"), "count 2\r\nline 1\r\nline 2\r\nann@twin:~$ ");
        assert_eq!(say("reboot\r"), "reboot\r\nreboot: command not found\r\nann@twin:~$ ");
        assert_eq!(say("exit\r"), "exit\r\ntwin login: ");
    }

    #[test]
    fn a_line_without_an_end_does_not_grow() {
        let mut login = Login::default();
        let out = login.typed(&[b'x'; 10_000]);
        assert_eq!((login.line.len(), out.len()), (LINE_MAX, 10_000));
    }
}
