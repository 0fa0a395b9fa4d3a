//! From verdicts about system calls to a program for the kernel's classic BPF (`linux/filter.h`, `linux/seccomp.h`).
//!
//! ```text
//!  which instruction set? ─other─► kill
//!  which number?  binary search ─► few numbers, one after the other ─► allow | kill | refuse | look at arguments
//!                                                                  └─none─► not there (ENOSYS)
//! ```

use std::collections::BTreeMap;

/// What a call comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is made.
    Allow,
    /// It ends the process.
    Kill,
    /// It is made if all tests of one of these hold, and refused with `EPERM` otherwise.
    When(Vec<Vec<Test>>),
}

/// A comparison of an argument's low 32 bits, which are all that the kernel looks at where an argument is an `int`, or of the high ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Test {
    /// Which argument, from 0.
    pub(super) argument: u8,
    /// The high half of it.
    pub(super) high: bool,
    /// The bits that are looked at.
    pub(super) mask: u32,
    /// What they have to be.
    pub(super) value: u32,
}

impl Test {
    /// The low half of an argument is this.
    pub(super) const fn is(argument: u8, value: u32) -> Self {
        Self::bits(argument, u32::MAX, value)
    }

    /// These bits of the low half of an argument are this.
    pub(super) const fn bits(argument: u8, mask: u32, value: u32) -> Self {
        Self { argument, high: false, mask, value }
    }

    /// The high half of an argument is zero.
    pub(super) const fn no_high(argument: u8) -> Self {
        Self { argument, high: true, mask: u32::MAX, value: 0 }
    }
}

/// `struct sock_filter`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    /// How many instructions are left out when a comparison holds, and when not.
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

/// Instructions of `linux/bpf_common.h`: A is the one register that is used.
pub(super) const LOAD: u16 = 0x20; // A = the word of `struct seccomp_data` at k
pub(super) const AND: u16 = 0x54; // A &= k
pub(super) const EQUAL: u16 = 0x15; // A == k
pub(super) const AT_LEAST: u16 = 0x35; // A >= k
pub(super) const SKIP: u16 = 0x05; // leaves out k instructions
pub(super) const RETURN: u16 = 0x06;

/// Places in `struct seccomp_data`: all instruction sets supported keep the low half of a number first.
pub(super) const NUMBER_AT: u32 = 0;
pub(super) const ARCHITECTURE_AT: u32 = 4;
pub(super) const ARGUMENTS_AT: u32 = 16;

/// Answers of `linux/seccomp.h`.
pub(super) const KILL: u32 = 0x8000_0000;
pub(super) const ALLOW: u32 = 0x7fff_0000;
pub(super) const REFUSE: u32 = 0x0005_0000 | 1; // EPERM
pub(super) const NOT_THERE: u32 = 0x0005_0000 | 38; // ENOSYS
/// What a program may be long (`BPF_MAXINSNS`).
pub(super) const LENGTH_MAX: usize = 4096;

/// So many numbers are compared one after the other.
const FEW: usize = 6;

const fn plain(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

/// The program that answers as `verdicts` say, on the instruction set `architecture` (`AUDIT_ARCH_…`), and "not there" for every other call. `None` when it
/// would not be one the kernel takes.
pub(super) fn program(architecture: u32, verdicts: &BTreeMap<u32, Verdict>) -> Option<Vec<Instruction>> {
    let mut program = vec![
        plain(LOAD, ARCHITECTURE_AT),
        Instruction { code: EQUAL, jt: 1, jf: 0, k: architecture },
        plain(RETURN, KILL),
        plain(LOAD, NUMBER_AT),
    ];
    let ordered: Vec<(u32, &Verdict)> = verdicts.iter().map(|(number, verdict)| (*number, verdict)).collect();
    search(&ordered, &mut program)?;
    (program.len() <= LENGTH_MAX).then_some(program)
}

/// Finds the number in A.
fn search(ordered: &[(u32, &Verdict)], out: &mut Vec<Instruction>) -> Option<()> {
    if ordered.len() <= FEW {
        for (number, verdict) in ordered {
            let body = body(verdict)?;
            out.push(Instruction { code: EQUAL, jt: 0, jf: u8::try_from(body.len()).ok()?, k: *number });
            out.extend(body);
        }
        out.push(plain(RETURN, NOT_THERE));
        return Some(());
    }
    let (below, from) = ordered.split_at(ordered.len() / 2);
    let (first, _) = from.first()?;
    let mut left = Vec::new();
    search(below, &mut left)?;
    // A comparison leaves out 255 instructions at most, SKIP any number.
    out.push(Instruction { code: AT_LEAST, jt: 0, jf: 1, k: *first });
    out.push(plain(SKIP, u32::try_from(left.len()).ok()?));
    out.append(&mut left);
    search(from, out)
}

/// What is done once the number is known. A is used for arguments: nothing comes after.
fn body(verdict: &Verdict) -> Option<Vec<Instruction>> {
    let cases = match verdict {
        Verdict::Allow => return Some(vec![plain(RETURN, ALLOW)]),
        Verdict::Kill => return Some(vec![plain(RETURN, KILL)]),
        Verdict::When(cases) => cases,
    };
    let mut out = Vec::new();
    for tests in cases {
        let mut code = Vec::new();
        // From behind: each test has to know how far it is to the next case.
        code.push(plain(RETURN, ALLOW));
        for test in tests.iter().rev() {
            let left = u8::try_from(code.len()).ok()?;
            code.insert(0, Instruction { code: EQUAL, jt: 0, jf: left, k: test.value });
            if test.mask != u32::MAX {
                code.insert(0, plain(AND, test.mask));
            }
            let half = if test.high { 4 } else { 0 };
            code.insert(0, plain(LOAD, ARGUMENTS_AT + 8 * u32::from(test.argument) + half));
        }
        out.append(&mut code);
    }
    out.push(plain(RETURN, REFUSE));
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const ARCHITECTURE: u32 = 0xc000_003e;

    /// What the kernel would answer: the five instructions that are used, in the words of `linux/filter.h`. A program that leaves its end, jumps
    /// backwards or loads what is not there is refused, as the kernel's checker does.
    pub(in super::super) fn run(
        program: &[Instruction],
        architecture: u32,
        number: u32,
        arguments: [u64; 6],
    ) -> u32 {
        let mut data = vec![number, architecture, 0, 0];
        for argument in arguments {
            data.push(u32::try_from(argument & 0xffff_ffff).unwrap());
            data.push(u32::try_from(argument >> 32).unwrap());
        }
        let (mut at, mut a) = (0usize, 0u32);
        loop {
            let Instruction { code, jt, jf, k } = program[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            match code {
                LOAD => {
                    assert_eq!(k % 4, 0);
                    a = data[usize::try_from(k / 4).unwrap()];
                }
                AND => a &= k,
                EQUAL => at += jump(a == k),
                AT_LEAST => at += jump(a >= k),
                SKIP => at += usize::try_from(k).unwrap(),
                RETURN => return k,
                other => panic!("no instruction: {other:#x}"),
            }
        }
    }

    fn answer(verdicts: &BTreeMap<u32, Verdict>, number: u32, arguments: [u64; 6]) -> u32 {
        run(&program(ARCHITECTURE, verdicts).unwrap(), ARCHITECTURE, number, arguments)
    }

    #[test]
    fn every_number_is_found_and_no_other() {
        for count in [0, 1, 2, FEW, FEW + 1, 40, 333] {
            let verdicts: BTreeMap<u32, Verdict> = (0..count)
                .map(|n| {
                    (
                        u32::try_from(n * 3 + 1).unwrap(),
                        if n % 5 == 0 { Verdict::Kill } else { Verdict::Allow },
                    )
                })
                .collect();
            for number in 0..1100 {
                let wanted = match verdicts.get(&number) {
                    Some(Verdict::Kill) => KILL,
                    Some(_) => ALLOW,
                    None => NOT_THERE,
                };
                assert_eq!(answer(&verdicts, number, [0; 6]), wanted, "{number} of {count}");
            }
        }
    }

    #[test]
    fn a_call_of_another_instruction_set_ends_the_process() {
        let verdicts = BTreeMap::from([(1, Verdict::Allow)]);
        let program = program(ARCHITECTURE, &verdicts).unwrap();
        assert_eq!(run(&program, ARCHITECTURE, 1, [0; 6]), ALLOW);
        assert_eq!(run(&program, 0x4000_0003, 1, [0; 6]), KILL, "32-bit calls of an x86-64 kernel");
        assert_eq!(run(&program, ARCHITECTURE, 0x4000_0001, [0; 6]), NOT_THERE, "x32: other numbers");
    }

    #[test]
    fn arguments_are_looked_at_as_far_as_they_count() {
        let cases = vec![
            vec![Test::is(0, 1)],
            vec![Test::is(0, 2), Test::bits(1, 0xf, 1)],
            vec![Test::is(0, 3), Test::is(2, 0), Test::no_high(2)],
        ];
        let verdicts = BTreeMap::from([(41, Verdict::When(cases)), (42, Verdict::When(Vec::new()))]);
        for (arguments, wanted) in [
            ([1, 0, 0], ALLOW),
            // The kernel takes an `int`: what is above does not change the call.
            ([0xffff_ffff_0000_0001, 0, 0], ALLOW),
            ([2, 1, 0], ALLOW),
            ([2, 0x8_0001, 0], ALLOW),
            ([2, 2, 0], REFUSE),
            ([3, 0, 0], ALLOW),
            ([3, 0, 1 << 32], REFUSE),
            ([3, 0, 1], REFUSE),
            ([4, 1, 0], REFUSE),
        ] {
            let [first, second, third] = arguments;
            assert_eq!(answer(&verdicts, 41, [first, second, third, 0, 0, 0]), wanted, "{arguments:x?}");
        }
        assert_eq!(answer(&verdicts, 42, [0; 6]), REFUSE, "no case, no call");
    }

    #[test]
    fn a_program_that_the_kernel_would_not_take_is_none() {
        let many = (0..3000).map(|number| (number, Verdict::Allow)).collect();
        assert_eq!(program(ARCHITECTURE, &many), None);
        let long = (0..200).map(|value| vec![Test::is(0, value)]).collect();
        assert_eq!(program(ARCHITECTURE, &BTreeMap::from([(1, Verdict::When(long))])), None);
    }
}
