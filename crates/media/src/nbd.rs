//! NBD, as a server of one export and as its client (the NBD protocol, doc/proto.md of NetworkBlockDevice/nbd: fixed newstyle handshake, simple replies).
//!
//! [`Server`] takes bytes and says what is asked; who asked is answered with [`reply`] by the number of the request, in whatever order. [`Client`] is for
//! who reads a medium as a host does.

/// `NBDMAGIC`.
const MAGIC: u64 = 0x4e42_444d_4147_4943;
/// `IHAVEOPT`.
const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// `NBD_FLAG_FIXED_NEWSTYLE` and `NBD_FLAG_NO_ZEROES`, of server and client alike.
const FIXED: u16 = 1;
const NO_ZEROES: u16 = 2;

const OPT_EXPORT_NAME: u32 = 1;
const OPT_ABORT: u32 = 2;
const OPT_LIST: u32 = 3;
const OPT_INFO: u32 = 6;
const OPT_GO: u32 = 7;

const REP_ACK: u32 = 1;
const REP_SERVER: u32 = 2;
const REP_INFO: u32 = 3;
const REP_ERR_UNSUP: u32 = 0x8000_0001;
const REP_ERR_INVALID: u32 = 0x8000_0003;
const REP_ERR_UNKNOWN: u32 = 0x8000_0006;

const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

const FLAG_HAS_FLAGS: u16 = 1;
const FLAG_READ_ONLY: u16 = 2;
const FLAG_SEND_FLUSH: u16 = 4;
/// Several connections see the same, as after a flush of one.
const FLAG_CAN_MULTI_CONN: u16 = 0x100;

/// Bytes of an option at most: names are short.
const OPTION_MAX: usize = 4096;
/// Options of one connection: who negotiates for longer wants something else.
const OPTIONS_MAX: u32 = 64;
/// Bytes of one request at most, of which the client is told.
pub const TRANSFER_MAX: u32 = 256 * 1024;
/// The smallest unit of a request.
pub const UNIT: u32 = 512;
/// Bytes of a request without its payload.
const REQUEST: usize = 28;

/// What a client gets to know of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Its name; clients that name none get it as well.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// It cannot be written.
    pub is_read_only: bool,
}

impl Export {
    fn flags(&self) -> u16 {
        let writes = if self.is_read_only { FLAG_READ_ONLY } else { FLAG_SEND_FLUSH };
        FLAG_HAS_FLAGS | FLAG_CAN_MULTI_CONN | writes
    }
}

/// An error that a request is answered with; the numbers are those of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errno {
    /// It is read only.
    NotPermitted,
    /// The medium cannot be read.
    Io,
    /// Beyond the end, too long, or of no known kind.
    Invalid,
    /// The medium is full.
    NoSpace,
}

impl Errno {
    const fn number(self) -> u32 {
        match self {
            Self::NotPermitted => 1,
            Self::Io => 5,
            Self::Invalid => 22,
            Self::NoSpace => 28,
        }
    }
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// So many bytes from here. They are within the export.
    Read {
        /// By which it is answered.
        handle: u64,
        /// From the beginning of the export.
        offset: u64,
        /// At most [`TRANSFER_MAX`].
        length: u32,
    },
    /// These bytes to here. They are within the export, and it is not read only.
    Write {
        /// By which it is answered.
        handle: u64,
        /// From the beginning of the export.
        offset: u64,
        /// What is written.
        bytes: Vec<u8>,
    },
    /// What was written is to be on the medium.
    Flush {
        /// By which it is answered.
        handle: u64,
    },
    /// One that is answered at once with this.
    Refused {
        /// By which it is answered.
        handle: u64,
        /// Why.
        why: Errno,
    },
    /// The client is done.
    Disconnect,
}

/// What a client sends is no NBD: its connection is of no more use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Violation(&'static str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Flags,
    Options { no_zeroes: bool },
    Transmission,
    Over,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Server {
    export: Export,
    stage: Stage,
    input: Vec<u8>,
    output: Vec<u8>,
    options: u32,
}

impl Server {
    /// One that offers this.
    #[must_use]
    pub fn new(export: Export) -> Self {
        let mut output = Vec::with_capacity(18);
        output.extend(MAGIC.to_be_bytes());
        output.extend(OPTION_MAGIC.to_be_bytes());
        output.extend((FIXED | NO_ZEROES).to_be_bytes());
        Self { export, stage: Stage::Flags, input: Vec::new(), output, options: 0 }
    }

    /// What is to be sent of the handshake.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Whether the handshake is over and requests come.
    #[must_use]
    pub fn transmits(&self) -> bool {
        self.stage == Stage::Transmission
    }

    /// Whether the client has said that it is done.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Bytes that are kept of a request that is not whole.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.input.len()
    }

    /// Takes bytes of the client; what it asks for is added to `requests`.
    ///
    /// # Errors
    /// [`Violation`]: nothing more is understood.
    pub fn receive(&mut self, bytes: &[u8], requests: &mut Vec<Request>) -> Result<(), Violation> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        loop {
            let before = rest.len();
            rest = match self.stage {
                Stage::Flags => self.flags(rest)?,
                Stage::Options { no_zeroes } => self.option(rest, no_zeroes)?,
                Stage::Transmission => self.request(rest, requests)?,
                Stage::Over => &[],
            };
            if rest.len() == before || rest.is_empty() {
                break;
            }
        }
        self.input = rest.to_vec();
        Ok(())
    }

    fn flags<'b>(&mut self, bytes: &'b [u8]) -> Result<&'b [u8], Violation> {
        let Some((flags, rest)) = take_u32(bytes) else { return Ok(bytes) };
        if flags & !u32::from(FIXED | NO_ZEROES) != 0 {
            return Err(Violation("the client wants what was not offered"));
        }
        self.stage = Stage::Options { no_zeroes: flags & u32::from(NO_ZEROES) != 0 };
        Ok(rest)
    }

    fn option<'b>(&mut self, bytes: &'b [u8], no_zeroes: bool) -> Result<&'b [u8], Violation> {
        let Some((magic, rest)) = take_u64(bytes) else { return Ok(bytes) };
        if magic != OPTION_MAGIC {
            return Err(Violation("an option without its magic"));
        }
        let Some((option, rest)) = take_u32(rest) else { return Ok(bytes) };
        let Some((length, rest)) = take_u32(rest) else { return Ok(bytes) };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > OPTION_MAX {
            return Err(Violation("an option that is too long"));
        }
        let Some((data, rest)) = rest.split_at_checked(length) else { return Ok(bytes) };
        self.options = self.options.saturating_add(1);
        if self.options > OPTIONS_MAX {
            return Err(Violation("too many options"));
        }
        match option {
            OPT_EXPORT_NAME => {
                // There is no way to refuse but to hang up.
                if !self.is_ours(data) {
                    return Err(Violation("no such export"));
                }
                self.output.extend(self.export.size.to_be_bytes());
                self.output.extend(self.export.flags().to_be_bytes());
                if !no_zeroes {
                    self.output.extend([0; 124]);
                }
                self.stage = Stage::Transmission;
            }
            OPT_ABORT => {
                self.answer(option, REP_ACK, &[]);
                self.stage = Stage::Over;
            }
            OPT_LIST if data.is_empty() => {
                let name = self.export.name.clone().into_bytes();
                let length = u32::try_from(name.len()).unwrap_or(0);
                self.answer(option, REP_SERVER, &[&length.to_be_bytes()[..], &name].concat());
                self.answer(option, REP_ACK, &[]);
            }
            OPT_INFO | OPT_GO => self.info(option, data),
            OPT_LIST => self.answer(option, REP_ERR_INVALID, &[]),
            _ => self.answer(option, REP_ERR_UNSUP, &[]),
        }
        Ok(rest)
    }

    fn info(&mut self, option: u32, data: &[u8]) {
        // The name, then what the client wants to be told of; the export and the block size are told always.
        let parsed = || {
            let (length, rest) = take_u32(data)?;
            let (name, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            let (count, rest) = rest.split_first_chunk::<2>()?;
            (rest.len() == 2 * usize::from(u16::from_be_bytes(*count))).then_some(name)
        };
        let Some(name) = parsed() else { return self.answer(option, REP_ERR_INVALID, &[]) };
        if !self.is_ours(name) {
            return self.answer(option, REP_ERR_UNKNOWN, &[]);
        }
        let (size, flags) = (self.export.size.to_be_bytes(), self.export.flags().to_be_bytes());
        self.answer(option, REP_INFO, &[&INFO_EXPORT.to_be_bytes()[..], &size, &flags].concat());
        let sizes = [UNIT, 4096, TRANSFER_MAX].map(u32::to_be_bytes).concat();
        self.answer(option, REP_INFO, &[&INFO_BLOCK_SIZE.to_be_bytes()[..], &sizes].concat());
        self.answer(option, REP_ACK, &[]);
        if option == OPT_GO {
            self.stage = Stage::Transmission;
        }
    }

    fn is_ours(&self, name: &[u8]) -> bool {
        name.is_empty() || name == self.export.name.as_bytes()
    }

    fn answer(&mut self, option: u32, kind: u32, data: &[u8]) {
        self.output.extend(OPTION_REPLY_MAGIC.to_be_bytes());
        self.output.extend(option.to_be_bytes());
        self.output.extend(kind.to_be_bytes());
        self.output.extend(u32::try_from(data.len()).unwrap_or(0).to_be_bytes());
        self.output.extend_from_slice(data);
    }

    fn request<'b>(&mut self, bytes: &'b [u8], requests: &mut Vec<Request>) -> Result<&'b [u8], Violation> {
        let Some((head, rest)) = bytes.split_at_checked(REQUEST) else { return Ok(bytes) };
        let head = Head::parse(head).ok_or(Violation("a request without its magic"))?;
        let Head { kind, handle, offset, length } = head;
        if kind == 2 {
            requests.push(Request::Disconnect);
            self.stage = Stage::Over;
            return Ok(&[]);
        }
        let payload = if kind == 1 { usize::try_from(length).unwrap_or(usize::MAX) } else { 0 };
        if kind == 1 && length > TRANSFER_MAX {
            // What follows would have to be read to be passed over.
            return Err(Violation("a write that is too long"));
        }
        let Some((data, rest)) = rest.split_at_checked(payload) else { return Ok(bytes) };
        let is_within = offset.checked_add(length.into()).is_some_and(|end| end <= self.export.size);
        let request = match kind {
            0 if is_within && length > 0 && length <= TRANSFER_MAX => {
                Request::Read { handle, offset, length }
            }
            1 if self.export.is_read_only => Request::Refused { handle, why: Errno::NotPermitted },
            1 if !is_within => Request::Refused { handle, why: Errno::NoSpace },
            1 => Request::Write { handle, offset, bytes: data.to_vec() },
            3 => Request::Flush { handle },
            _ => Request::Refused { handle, why: Errno::Invalid },
        };
        requests.push(request);
        Ok(rest)
    }
}

struct Head {
    kind: u16,
    handle: u64,
    offset: u64,
    length: u32,
}

impl Head {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (magic, rest) = take_u32(bytes)?;
        let (_flags, rest) = rest.split_first_chunk::<2>()?;
        let (kind, rest) = rest.split_first_chunk::<2>()?;
        let (handle, rest) = take_u64(rest)?;
        let (offset, rest) = take_u64(rest)?;
        let (length, _) = take_u32(rest)?;
        (magic == REQUEST_MAGIC).then_some(Self { kind: u16::from_be_bytes(*kind), handle, offset, length })
    }
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u32::from_be_bytes(*number), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_be_bytes(*number), rest))
}

/// Bytes before those that were read.
pub const REPLY: usize = 16;

/// The head of an answer; after one that is good to a read the bytes follow.
#[must_use]
pub fn reply(handle: u64, outcome: Result<(), Errno>) -> [u8; REPLY] {
    let mut out = [0; REPLY];
    let error = outcome.err().map_or(0, Errno::number);
    let bytes = REPLY_MAGIC.to_be_bytes().into_iter().chain(error.to_be_bytes()).chain(handle.to_be_bytes());
    out.iter_mut().zip(bytes).for_each(|(to, byte)| *to = byte);
    out
}

/// What a client knows of the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Bytes.
    pub size: u64,
    /// It cannot be written.
    pub is_read_only: bool,
}

/// The client's side of one connection, one request after the other.
#[derive(Debug, Default)]
pub struct Client {
    input: Vec<u8>,
    output: Vec<u8>,
    greeted: bool,
    offer: Option<Offer>,
    ready: bool,
    handle: u64,
    reading: Option<u32>,
}

impl Client {
    /// What is to be sent.
    #[must_use]
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// What is offered, once that is known; only then may be read.
    #[must_use]
    pub fn offer(&self) -> Option<Offer> {
        self.offer.filter(|_| self.ready)
    }

    /// Asks for bytes.
    pub fn read(&mut self, offset: u64, length: u32) {
        self.handle = self.handle.wrapping_add(1);
        self.reading = Some(length);
        self.output.extend(REQUEST_MAGIC.to_be_bytes());
        self.output.extend([0; 4]);
        self.output.extend(self.handle.to_be_bytes());
        self.output.extend(offset.to_be_bytes());
        self.output.extend(length.to_be_bytes());
    }

    /// Takes bytes of the server: the answer to what was asked for, once it is whole, the error's number where it is none.
    ///
    /// # Errors
    /// [`Violation`]: it is no NBD, or there is no such export.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Option<Result<Vec<u8>, u32>>, Violation> {
        self.input.extend_from_slice(bytes);
        if !self.greeted {
            let Some((magic, rest)) = take_u64(&self.input) else { return Ok(None) };
            let Some((options, rest)) = take_u64(rest) else { return Ok(None) };
            let Some((flags, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            if magic != MAGIC || options != OPTION_MAGIC || u16::from_be_bytes(*flags) & FIXED == 0 {
                return Err(Violation("it is no server of the fixed newstyle handshake"));
            }
            let rest = rest.to_vec();
            self.input = rest;
            self.greeted = true;
            self.output.extend(u32::from(FIXED | NO_ZEROES).to_be_bytes());
            self.output.extend(OPTION_MAGIC.to_be_bytes());
            self.output.extend(OPT_GO.to_be_bytes());
            self.output.extend(6_u32.to_be_bytes());
            self.output.extend([0; 6]);
        }
        while !self.ready {
            let Some((magic, rest)) = take_u64(&self.input) else { return Ok(None) };
            let Some((_option, rest)) = take_u32(rest) else { return Ok(None) };
            let Some((kind, rest)) = take_u32(rest) else { return Ok(None) };
            let Some((length, rest)) = take_u32(rest) else { return Ok(None) };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if magic != OPTION_REPLY_MAGIC || length > OPTION_MAX {
                return Err(Violation("an answer that is none"));
            }
            let Some((data, rest)) = rest.split_at_checked(length) else { return Ok(None) };
            match kind {
                REP_INFO => {
                    if let Some((0, rest)) =
                        data.split_first_chunk::<2>().map(|(info, rest)| (u16::from_be_bytes(*info), rest))
                        && let Some((size, rest)) = take_u64(rest)
                        && let Some((flags, _)) = rest.split_first_chunk::<2>()
                    {
                        let is_read_only = u16::from_be_bytes(*flags) & FLAG_READ_ONLY != 0;
                        self.offer = Some(Offer { size, is_read_only });
                    }
                }
                REP_ACK if self.offer.is_some() => self.ready = true,
                _ if kind >= 0x8000_0000 => return Err(Violation("the export is not to be had")),
                _ => return Err(Violation("an answer that is none")),
            }
            let rest = rest.to_vec();
            self.input = rest;
        }
        let Some(length) = self.reading else { return Ok(None) };
        let Some((magic, rest)) = take_u32(&self.input) else { return Ok(None) };
        let Some((error, rest)) = take_u32(rest) else { return Ok(None) };
        let Some((handle, rest)) = take_u64(rest) else { return Ok(None) };
        if magic != REPLY_MAGIC || handle != self.handle {
            return Err(Violation("a reply to nothing that was asked"));
        }
        let length = if error == 0 { usize::try_from(length).unwrap_or(usize::MAX) } else { 0 };
        let Some((data, rest)) = rest.split_at_checked(length) else { return Ok(None) };
        let answer = if error == 0 { Ok(data.to_vec()) } else { Err(error) };
        let rest = rest.to_vec();
        self.input = rest;
        self.reading = None;
        Ok(Some(answer))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn export(is_read_only: bool) -> Export {
        Export { name: "cd".to_owned(), size: 8192, is_read_only }
    }

    /// A client and a server that have shaken hands.
    fn pair(is_read_only: bool) -> (Client, Server) {
        let (mut client, mut server) = (Client::default(), Server::new(export(is_read_only)));
        let mut requests = Vec::new();
        while client.offer().is_none() {
            client.receive(&server.take_output()).unwrap();
            server.receive(&client.take_output(), &mut requests).unwrap();
        }
        assert!(requests.is_empty() && server.transmits());
        (client, server)
    }

    fn raw(kind: u16, handle: u64, offset: u64, length: u32) -> Vec<u8> {
        let mut out = REQUEST_MAGIC.to_be_bytes().to_vec();
        out.extend([0; 2]);
        out.extend(kind.to_be_bytes());
        out.extend(handle.to_be_bytes());
        out.extend(offset.to_be_bytes());
        out.extend(length.to_be_bytes());
        out
    }

    #[test]
    fn what_is_offered_is_known_and_read() {
        let (mut client, mut server) = pair(true);
        assert_eq!(client.offer(), Some(Offer { size: 8192, is_read_only: true }));
        client.read(512, 1024);
        let mut requests = Vec::new();
        server.receive(&client.take_output(), &mut requests).unwrap();
        assert_eq!(requests, [Request::Read { handle: 1, offset: 512, length: 1024 }]);
        assert_eq!(client.receive(&reply(1, Ok(()))).unwrap(), None);
        assert_eq!(client.receive(&[7; 1024]).unwrap(), Some(Ok(vec![7; 1024])));
        client.read(0, 512);
        let _ = client.take_output();
        assert_eq!(client.receive(&reply(2, Err(Errno::Io))).unwrap(), Some(Err(5)));
    }

    #[test]
    fn what_cannot_be_is_refused_and_what_is_no_nbd_ends_the_connection() {
        let ask = |server: &mut Server, bytes: &[u8]| {
            let mut requests = Vec::new();
            server.receive(bytes, &mut requests).map(|()| requests)
        };
        let refused = |handle, why| Ok(vec![Request::Refused { handle, why }]);
        let (_, mut server) = pair(true);
        assert_eq!(ask(&mut server, &raw(0, 1, 8192, 1)), refused(1, Errno::Invalid));
        assert_eq!(ask(&mut server, &raw(0, 2, u64::MAX, 512)), refused(2, Errno::Invalid));
        assert_eq!(ask(&mut server, &raw(0, 3, 0, 0)), refused(3, Errno::Invalid));
        assert_eq!(ask(&mut server, &raw(6, 4, 0, 512)), refused(4, Errno::Invalid));
        let write = [raw(1, 5, 0, 4), vec![1, 2, 3, 4]].concat();
        assert_eq!(ask(&mut server, &write), refused(5, Errno::NotPermitted));
        assert!(ask(&mut server, &raw(1, 6, 0, TRANSFER_MAX + 1)).is_err());

        let (_, mut server) = pair(false);
        assert_eq!(
            ask(&mut server, &write),
            Ok(vec![Request::Write { handle: 5, offset: 0, bytes: vec![1, 2, 3, 4] }])
        );
        let beyond = [raw(1, 6, 8190, 4), vec![0; 4]].concat();
        assert_eq!(ask(&mut server, &beyond), refused(6, Errno::NoSpace));
        assert_eq!(ask(&mut server, &raw(3, 7, 0, 0)), Ok(vec![Request::Flush { handle: 7 }]));
        assert_eq!(ask(&mut server, &raw(2, 8, 0, 0)), Ok(vec![Request::Disconnect]));
        assert!(server.is_over());
        assert!(ask(&mut Server::new(export(true)), &[0xff; 4]).is_err());
    }

    #[test]
    fn an_export_of_another_name_is_not_there_and_the_older_way_to_name_one_works() {
        let option = |number: u32, data: &[u8]| {
            let mut out = OPTION_MAGIC.to_be_bytes().to_vec();
            out.extend(number.to_be_bytes());
            out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            out.extend_from_slice(data);
            out
        };
        let start = || {
            let mut server = Server::new(export(true));
            server.receive(&[0, 0, 0, 3], &mut Vec::new()).unwrap();
            let _ = server.take_output();
            server
        };
        let mut server = start();
        server.receive(&option(OPT_GO, b"\0\0\0\x01x\0\0"), &mut Vec::new()).unwrap();
        assert_eq!(&server.take_output()[12..16], REP_ERR_UNKNOWN.to_be_bytes());
        server.receive(&option(OPT_LIST, b""), &mut Vec::new()).unwrap();
        assert!(server.take_output().windows(2).any(|two| two == b"cd"));
        // TLS is not to be had on a socket of the machine.
        server.receive(&option(5, b""), &mut Vec::new()).unwrap();
        assert_eq!(&server.take_output()[12..16], REP_ERR_UNSUP.to_be_bytes());
        assert!(!server.transmits());
        assert!(start().receive(&option(OPT_EXPORT_NAME, b"x"), &mut Vec::new()).is_err());
        server.receive(&option(OPT_EXPORT_NAME, b"cd"), &mut Vec::new()).unwrap();
        assert!(server.transmits());
        assert_eq!(server.take_output(), [&8192_u64.to_be_bytes()[..], &[1, 3]].concat());
        let mut server = start();
        for _ in 0..OPTIONS_MAX {
            server.receive(&option(99, b""), &mut Vec::new()).unwrap();
        }
        assert!(server.receive(&option(99, b""), &mut Vec::new()).is_err());
    }

    proptest! {
        #[test]
        fn however_bytes_are_cut_the_same_is_asked(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 1..20_usize, whole in any::<bool>()) {
            let (_, mut a) = pair(false);
            let (_, mut b) = pair(false);
            let bytes = if whole { [raw(0, 1, 0, 512), raw(3, 2, 0, 0), bytes].concat() } else { bytes };
            let (mut one, mut other) = (Vec::new(), Vec::new());
            let first = a.receive(&bytes, &mut one);
            let second = bytes.chunks(cut).try_for_each(|piece| b.receive(piece, &mut other));
            prop_assert_eq!((first, one), (second, other));
            prop_assert!(a.input_len() <= REQUEST + usize::try_from(TRANSFER_MAX).unwrap());
        }

        #[test]
        fn a_client_survives_any_server(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut client = Client::default();
            let _ = client.receive(&Server::new(export(true)).take_output());
            let _ = client.receive(&bytes);
        }
    }
}
