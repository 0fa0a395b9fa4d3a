//! What a host's emulator and a client that serves a file send: none of it may panic or make what is kept grow, and cut anywhere it says the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use media::nbd::{Client, Export, Server, TRANSFER_MAX};
use media::{Ask, Exchange};

fuzz_target!(|bytes: &[u8]| {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let cut = usize::from(*cut).max(1);
    let export = || Export { name: "cd".to_owned(), size: 1 << 20, is_read_only: false };
    let go = b"\0\0\0\x03IHAVEOPT\0\0\0\x07\0\0\0\x06\0\0\0\0\0\0";
    for handshake in [&b""[..], go] {
        let (mut whole, mut pieces) = (Server::new(export()), Server::new(export()));
        let (mut one, mut other) = (Vec::new(), Vec::new());
        whole.receive(handshake, &mut one).unwrap();
        pieces.receive(handshake, &mut other).unwrap();
        let first = whole.receive(bytes, &mut one);
        let mut second = Ok(());
        for piece in bytes.chunks(cut) {
            second = pieces.receive(piece, &mut other);
            assert!(pieces.input_len() <= TRANSFER_MAX as usize + 8192);
            if second.is_err() {
                break;
            }
        }
        assert_eq!((first, one), (second, other));
    }

    let mut client = Client::default();
    let _ = client.receive(&Server::new(export()).take_output());
    client.read(0, 512);
    let _ = client.receive(bytes);

    let mut exchange = Exchange::default();
    exchange.ask(1, 0, 40_000, units::Mono::ZERO);
    let mut came = Vec::new();
    for piece in bytes.chunks(cut) {
        if exchange.receive(piece, &mut came).is_err() {
            break;
        }
        assert!(exchange.input_len() <= 40_000);
    }
    assert!(came.len() <= 1);
    let _ = Ask::parse(bytes);
});
