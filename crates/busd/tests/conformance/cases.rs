//! The list of cases: what is sent, and when to look at what came back. What must come back is what the
//! real server says.

use crate::peers::Setup;
use crate::wire::{Case, Step};
use Step::{Closed, Drip, Gone, LameDuck, Leave, Open, Sync, Together, Until};

/// `CONNECT` of a client like the official ones.
const QUIET: &str = "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
                     \"echo\":true,\"protocol\":1,\"lang\":\"test\",\"version\":\"1\"}\r\n";

fn send(client: char, text: impl Into<Vec<u8>>) -> Step {
    Step::Send(client, text.into())
}

/// Connects one client as the official ones do.
fn quiet(client: char) -> Vec<Step> {
    vec![Open(client), send(client, QUIET), Sync(client), Until(client, "INFO")]
}

fn connect(client: char, json: &str) -> Vec<Step> {
    vec![Open(client), send(client, format!("CONNECT {json}\r\n"))]
}

fn user(client: char, name: &str, password: &str) -> Vec<Step> {
    connect(
        client,
        &format!(
            "{{\"verbose\":false,\"pedantic\":false,\"headers\":true,\"no_responders\":true,\
             \"user\":\"{name}\",\"pass\":\"{password}\"}}"
        ),
    )
}

fn case(setup: Setup, name: &'static str, steps: Vec<Vec<Step>>) -> Case {
    Case { name, setup, steps: steps.concat() }
}

pub(crate) fn all() -> Vec<Case> {
    let mut cases = open();
    cases.extend(bad_input());
    cases.extend(tight());
    cases.extend(users());
    cases.extend(others());
    cases
}

fn open() -> Vec<Case> {
    let case = |name, steps| case(Setup::Open, name, steps);
    vec![
        case("greeting and connecting", vec![quiet('a')]),
        case(
            "wildcards",
            vec![
                quiet('a'),
                vec![
                    send('a', "SUB a.b 1\r\nSUB a.* 2\r\nSUB a.> 3\r\nSUB > 4\r\nSUB *.b 5\r\nSUB a 6\r\nSUB a*b 7\r\n"),
                    send('a', "PUB a.b 2\r\nab\r\n"),
                    Together("a"),
                    send('a', "PUB a.b.c 3\r\nabc\r\n"),
                    Together("a"),
                    send('a', "PUB a 1\r\na\r\nPUB a*b 1\r\ns\r\nPUB c.b 0\r\n\r\n"),
                    Together("a"),
                ],
            ],
        ),
        case(
            "publishing to what looks like a wildcard",
            vec![
                quiet('a'),
                vec![
                    send('a', "SUB a.* 1\r\nSUB a.> 2\r\nSUB a.b 3\r\nPUB a.* 1\r\nx\r\nPUB a.> 1\r\ny\r\n"),
                    Together("a"),
                    send('a', "PUB a. 1\r\nx\r\nPUB .a 1\r\nx\r\nPUB a..b 1\r\nx\r\nPUB . 1\r\nx\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "one of each queue group",
            vec![
                quiet('a'),
                quiet('b'),
                quiet('c'),
                vec![
                    send('a', "SUB w.x g 1\r\n"),
                    send('b', "SUB w.* g 1\r\nSUB w.y other 2\r\n"),
                    Sync('a'),
                    Sync('b'),
                    send('c', "PUB w.x 1\r\n1\r\nPUB w.x 1\r\n2\r\nPUB w.x 1\r\n3\r\nPUB w.y 1\r\n4\r\n"),
                    Sync('c'),
                    Together("ab"),
                ],
            ],
        ),
        case(
            "a queue group with one member left gets everything",
            vec![
                quiet('a'),
                quiet('b'),
                vec![
                    send('a', "SUB w g 1\r\n"),
                    send('b', "SUB w g 1\r\nUNSUB 1\r\n"),
                    Sync('a'),
                    Sync('b'),
                    send('b', "PUB w 1\r\n1\r\nPUB w r 1\r\n2\r\n"),
                    Sync('b'),
                    Sync('a'),
                    Leave('a'),
                ],
            ],
        ),
        case(
            "headers go through and are left out for who does not know them",
            vec![
                quiet('a'),
                connect('b', "{\"verbose\":false,\"pedantic\":false}"),
                vec![
                    send('a', "SUB h 1\r\n"),
                    send('b', "SUB h 9\r\n"),
                    Sync('a'),
                    Sync('b'),
                    send('a', "HPUB h 22 24\r\nNATS/1.0\r\nA: 1\r\nB:\r\n\r\nhi\r\n"),
                    Sync('a'),
                    Sync('b'),
                    send('a', "HPUB h r 12 12\r\nNATS/1.0\r\n\r\n\r\nHPUB h r 0 2\r\nhi\r\n"),
                    Sync('a'),
                    Sync('b'),
                ],
            ],
        ),
        case(
            "headers that are none go through as they are",
            vec![
                quiet('a'),
                vec![send('a', "SUB h 1\r\nHPUB h 7 9\r\nnothing\r\n\r\n"), Sync('a'), send('a', "HPUB h 2 4\r\nabcd\r\n"), Sync('a')],
            ],
        ),
        case(
            "headers without having said so",
            vec![
                connect('a', "{\"verbose\":false,\"pedantic\":false}"),
                vec![Sync('a'), send('a', "HPUB h 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"), Closed('a')],
            ],
        ),
        case(
            "nobody listens",
            vec![
                quiet('a'),
                vec![
                    send('a', "SUB _INBOX.1 1\r\nPUB nobody.home _INBOX.1 2\r\nhi\r\n"),
                    Sync('a'),
                    send('a', "PUB nobody.home elsewhere 2\r\nhi\r\nPUB nobody.home 2\r\nhi\r\n"),
                    Sync('a'),
                    send('a', "SUB _INBOX.> g 2\r\nUNSUB 1\r\nPUB nobody.home _INBOX.1 2\r\nhi\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "no responders needs headers",
            vec![connect('a', "{\"verbose\":false,\"no_responders\":true}"), vec![Closed('a')]],
        ),
        case(
            "echo off",
            vec![
                connect('a', "{\"verbose\":false,\"pedantic\":false,\"echo\":false,\"headers\":true,\"no_responders\":true}"),
                quiet('b'),
                vec![
                    send('a', "SUB e 1\r\nSUB i 2\r\n"),
                    send('b', "SUB e 1\r\n"),
                    Sync('a'),
                    Sync('b'),
                    send('a', "PUB e 1\r\nx\r\nPUB e i 1\r\ny\r\n"),
                    Sync('a'),
                    Sync('b'),
                    send('b', "UNSUB 1\r\n"),
                    Sync('b'),
                    send('a', "PUB e i 1\r\nz\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "verbose",
            vec![
                connect('a', "{\"verbose\":true,\"pedantic\":false,\"headers\":true}"),
                vec![
                    Until('a', "+OK"),
                    send('a', "SUB v 1\r\nSUB v 1\r\nPUB v 1\r\nx\r\nUNSUB 1 5\r\nUNSUB 77\r\nSUB v..w 3\r\nUNSUB 1\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "without a word about it a client is verbose and pedantic",
            vec![vec![
                Open('a'),
                send('a', "SUB p 1\r\n"),
                Sync('a'),
                send('a', "PUB p 1\r\nx\r\nPUB p.* 1\r\ny\r\n"),
                Sync('a'),
                send('a', "CONNECT {}\r\n"),
                Sync('a'),
            ]],
        ),
        case(
            "pedantic about subjects",
            vec![
                connect('a', "{\"verbose\":false,\"pedantic\":true,\"headers\":true}"),
                vec![
                    send('a', "SUB > 1\r\nPUB a.* 1\r\nx\r\n"),
                    Sync('a'),
                    send('a', "PUB a.> 1\r\nx\r\nPUB a..b 1\r\nx\r\nPUB a. 1\r\nx\r\n"),
                    Sync('a'),
                    send('a', "HPUB > 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "subjects that cannot be subscribed to",
            vec![
                quiet('a'),
                vec![
                    send('a', "SUB a..b 1\r\nSUB .a 2\r\nSUB a. 3\r\nSUB >.a 4\r\nSUB a.>.b 5\r\nSUB . 6\r\n"),
                    Sync('a'),
                    send('a', "SUB a*.b 7\r\nSUB **.x 8\r\nSUB a.>> 9\r\nPUB a*.b 1\r\nx\r\nPUB **.x 1\r\ny\r\nPUB a.>> 0\r\n\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "unsubscribing after so many",
            vec![
                quiet('a'),
                vec![
                    send('a', "SUB m 1\r\nUNSUB 1 2\r\nPUB m 1\r\n1\r\nPUB m 1\r\n2\r\nPUB m 1\r\n3\r\n"),
                    Sync('a'),
                    send('a', "SUB m 2\r\nPUB m 1\r\n4\r\nPUB m 1\r\n5\r\nUNSUB 2 2\r\nPUB m 1\r\n6\r\n"),
                    Sync('a'),
                    send('a', "SUB m 3\r\nUNSUB 3 0\r\nPUB m 1\r\n7\r\nSUB m 4\r\nUNSUB 4 x\r\nPUB m 1\r\n8\r\n"),
                    Sync('a'),
                    send('a', "SUB m 5\r\nUNSUB 5 3\r\nPUB m 1\r\n9\r\nUNSUB 5 1\r\nPUB m 1\r\n0\r\n"),
                    Sync('a'),
                    send('a', "SUB m q 6\r\nUNSUB 6 1\r\nPUB m 1\r\na\r\nPUB m 1\r\nb\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "the same subscription twice",
            vec![quiet('a'), vec![send('a', "SUB s 1\r\nSUB t 1\r\nPUB s 1\r\ns\r\nPUB t 1\r\nt\r\n"), Sync('a')]],
        ),
        case(
            "any case, blanks and line ends",
            vec![
                quiet('a'),
                vec![
                    send('a', "sub \t b \t 1 \r\nPuB   b\t 2  \nhi\r\nping\n"),
                    Until('a', "PONG"),
                    send('a', "PING with more\r\n"),
                    Until('a', "PONG"),
                    send('a', "PONG\r\n+OK\r\nUnSub   1\r\nPUB b 1\r\nx\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "one byte at a time",
            vec![
                quiet('a'),
                vec![
                    Drip('a', b"SUB d.* 1\r\nPUB d.e r 5\r\nhello\r\nHPUB d.e 12 13\r\nNATS/1.0\r\n\r\n!\r\nPING\r\n".to_vec()),
                    Until('a', "PONG"),
                ],
            ],
        ),
        case(
            "a message in two parts and much in one",
            vec![
                quiet('a'),
                vec![
                    send('a', "SUB two 1\r\nPING\r\nPUB two 10\r\n01234"),
                    Until('a', "PONG"),
                    send('a', "56789\r\nPING\r\n"),
                    Until('a', "PONG"),
                ],
                vec![send('a', "PUB two 1\r\nx\r\n".repeat(200)), Sync('a')],
            ],
        ),
        case(
            "large payloads",
            vec![
                quiet('a'),
                quiet('b'),
                vec![
                    send('b', "SUB big 1\r\n"),
                    Sync('b'),
                    send('a', format!("PUB big 65536\r\n{}\r\n", "x".repeat(65536))),
                    send('a', format!("PUB big 1048576\r\n{}\r\n", "y".repeat(1_048_576))),
                    Sync('a'),
                    Sync('b'),
                ],
            ],
        ),
        case(
            "subscriptions end with their connection",
            vec![
                quiet('a'),
                quiet('b'),
                vec![
                    send('a', "SUB gone 1\r\n"),
                    Sync('a'),
                    send('a', "-ERR 'done'\r\n"),
                    Closed('a'),
                    send('b', "SUB i 1\r\nPUB gone i 1\r\nx\r\n"),
                    Sync('b'),
                ],
            ],
        ),
        case(
            "replies that are not a client's to use",
            vec![quiet('a'), vec![send('a', "SUB r 1\r\nPUB r _R_.x 1\r\nx\r\nPUB r _GR_.x 1\r\ny\r\n"), Sync('a')]],
        ),
        case(
            "connecting twice",
            vec![
                quiet('a'),
                vec![send('a', "SUB x 1\r\n"), send('a', QUIET), send('a', "PUB x 1\r\nx\r\nSUB x 1\r\nPUB x 1\r\ny\r\n"), Sync('a')],
            ],
        ),
    ]
}

fn bad_input() -> Vec<Case> {
    let bad =
        |name, input: &str| case(Setup::Open, name, vec![quiet('a'), vec![send('a', input), Closed('a')]]);
    let connecting = |name, json: &str| case(Setup::Open, name, vec![connect('a', json), vec![Closed('a')]]);
    vec![
        bad("an unknown operation", "HELLO\r\n"),
        bad("an operation of a server", "MSG a 1 2\r\nhi\r\n"),
        bad("an operation between servers", "RS+ a b\r\n"),
        bad("a line of its own", "\r\n"),
        bad("half right", "PUX"),
        bad("no blank after it", "PUBa 1\r\n"),
        bad("PUB without size", "PUB a\r\n"),
        bad("PUB with too much", "PUB a b c 1\r\n"),
        bad("PUB with a negative size", "PUB a -1\r\n"),
        bad("PUB with a size of letters", "PUB a ten\r\n"),
        bad("PUB with a huge size", "PUB a 99999999999999999999\r\n"),
        bad("PUB with a long size", "PUB a 999999999\r\n"),
        bad("PUB over the bound", "PUB a 1048577\r\n"),
        bad("a payload longer than said", "PUB a 2\r\nabc\r\n"),
        bad("a payload without its end", "PUB a 2\r\nab\n\n"),
        bad("a payload with half its end", "PUB a 2\r\nab\rx"),
        bad("HPUB without sizes", "HPUB a 1\r\n"),
        bad("HPUB with headers longer than all", "HPUB a 10 5\r\n"),
        bad("HPUB over the bound", "HPUB a 10 1048577\r\n"),
        bad("HPUB with negative headers", "HPUB a -1 5\r\n"),
        bad("SUB without id", "SUB a\r\n"),
        bad("SUB with too much", "SUB a b c d\r\n"),
        bad("UNSUB of nothing", "UNSUB \r\n"),
        bad("UNSUB of too much", "UNSUB 1 2 3\r\n"),
        bad("CONNECT again without JSON", "CONNECT {\r\n"),
        bad("an error from the client", "-ERR 'mine'\r\n"),
        bad("INFO without JSON", "INFO what\r\n"),
        bad("a control line without end", &format!("SUB {}", "a".repeat(5000))),
        connecting("CONNECT without JSON", "nothing"),
        connecting("CONNECT with a list", "[]"),
        connecting("CONNECT with a wrong type", "{\"verbose\":\"yes\"}"),
        connecting("a protocol nobody knows", "{\"verbose\":false,\"protocol\":7}"),
        connecting("an account", "{\"verbose\":false,\"account\":\"x\"}"),
        case(
            Setup::Open,
            "CONNECT with more than anybody knows",
            vec![
                connect('a', "{\"VERBOSE\":false,\"pedantic\":null,\"future\":{\"a\":[1]}}"),
                vec![Sync('a')],
            ],
        ),
    ]
}

fn tight() -> Vec<Case> {
    let case = |name, steps| case(Setup::Tight, name, steps);
    vec![
        case(
            "a payload at its bound and over",
            vec![
                quiet('a'),
                vec![
                    send('a', format!("SUB p 1\r\nPUB p 100\r\n{}\r\n", "x".repeat(100))),
                    Sync('a'),
                    send('a', "PUB p 101\r\n"),
                    Closed('a'),
                ],
            ],
        ),
        case("headers count", vec![quiet('a'), vec![send('a', "HPUB p 12 101\r\n"), Closed('a')]]),
        case(
            "too many subscriptions",
            vec![
                quiet('a'),
                vec![
                    send('a', "SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nSUB d 4\r\nPUB d 1\r\nx\r\n"),
                    Sync('a'),
                    send('a', "UNSUB 1\r\nSUB d 4\r\nPUB d 1\r\nx\r\n"),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "too many connections",
            vec![quiet('a'), quiet('b'), quiet('c'), vec![Open('d'), Closed('d'), Sync('a')]],
        ),
        case(
            "a control line over its bound",
            vec![quiet('a'), vec![send('a', format!("SUB {} 1\r\n", "a".repeat(300))), Closed('a')]],
        ),
        case(
            "a control line at its bound",
            vec![quiet('a'), vec![send('a', format!("SUB {} 1\r\n", "a".repeat(254))), Sync('a')]],
        ),
    ]
}

fn users() -> Vec<Case> {
    let case = |name, steps| case(Setup::Users, name, steps);
    vec![
        case("the right password", vec![user('a', "admin", "secret"), vec![Sync('a')]]),
        case("the wrong password", vec![user('a', "admin", "wrong"), vec![Closed('a')]]),
        case("no such user", vec![user('a', "eve", "secret"), vec![Closed('a')]]),
        case("no credentials", vec![connect('a', "{\"verbose\":false}"), vec![Closed('a')]]),
        case("an operation before CONNECT", vec![vec![Open('a'), send('a', "PING\r\n"), Closed('a')]]),
        case("garbage before CONNECT", vec![vec![Open('a'), send('a', "xyz"), Closed('a')]]),
        case("garbage that starts like CONNECT", vec![vec![Open('a'), send('a', "CONNEXT"), Closed('a')]]),
        case("silence", vec![vec![Open('a'), Closed('a')]]),
        case("a half CONNECT", vec![vec![Open('a'), send('a', "CONNECT {\"user\":"), Closed('a')]]),
        case(
            "publishing where it is not allowed",
            vec![
                user('a', "limited", "pw"),
                user('b', "admin", "secret"),
                vec![
                    send('b', "SUB > 1\r\n"),
                    Sync('b'),
                    send(
                        'a',
                        "PUB a.ok 1\r\n1\r\nPUB b.no 1\r\n2\r\nPUB a.secret 1\r\n3\r\nPUB a 1\r\n4\r\n",
                    ),
                    Sync('a'),
                    send(
                        'a',
                        "HPUB b.\"q\" 12 12\r\nNATS/1.0\r\n\r\n\r\nPUB req.x r 1\r\n5\r\nPUB b.no 1\r\n6\r\n",
                    ),
                    Sync('a'),
                    Sync('b'),
                ],
            ],
        ),
        case(
            "subscribing where it is not allowed",
            vec![
                user('a', "limited", "pw"),
                vec![
                    send(
                        'a',
                        "SUB a.ok 1\r\nSUB b.no 2\r\nSUB > 3\r\nSUB a.secret 4\r\nSUB *.ok 5\r\nSUB b.no g 6\r\n",
                    ),
                    Sync('a'),
                    send(
                        'a',
                        "SUB q.1 7\r\nSUB q.1 workers.a 8\r\nSUB q.1 others 9\r\nSUB a.g hidden 10\r\nSUB a.g 11\r\n",
                    ),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "what is denied does not come through a wildcard",
            vec![
                user('a', "limited", "pw"),
                user('b', "admin", "secret"),
                vec![
                    send('a', "SUB a.* 1\r\nSUB a.> g 2\r\n"),
                    Sync('a'),
                    send('b', "PUB a.ok 1\r\n1\r\nPUB a.secret 1\r\n2\r\n"),
                    Sync('b'),
                    Together("a"),
                ],
            ],
        ),
        case(
            "answering is allowed so many times",
            vec![
                user('a', "responder", "pw"),
                user('b', "admin", "secret"),
                vec![
                    send('a', "SUB svc.echo 1\r\n"),
                    send('b', "SUB _INBOX.> 1\r\n"),
                    Sync('a'),
                    Sync('b'),
                    send('a', "PUB _INBOX.1 1\r\nx\r\n"),
                    Sync('a'),
                    send('b', "PUB svc.echo _INBOX.1 1\r\n?\r\n"),
                    Sync('b'),
                    Sync('a'),
                    send(
                        'a',
                        "PUB _INBOX.1 1\r\n1\r\nPUB _INBOX.2 1\r\n2\r\nPUB _INBOX.1 1\r\n3\r\nPUB _INBOX.1 1\r\n4\r\n",
                    ),
                    Sync('a'),
                    Sync('b'),
                ],
            ],
        ),
        case(
            "nobody listens, for a client with permissions",
            vec![
                user('a', "limited", "pw"),
                vec![
                    send(
                        'a',
                        "SUB _INBOX.1 1\r\nPUB req.nobody _INBOX.1 0\r\n\r\nPUB b.no _INBOX.1 0\r\n\r\n",
                    ),
                    Sync('a'),
                ],
            ],
        ),
        case(
            "connecting again as somebody else",
            vec![
                user('a', "limited", "pw"),
                vec![Sync('a')],
                vec![
                    send(
                        'a',
                        "CONNECT {\"verbose\":false,\"pedantic\":false,\"user\":\"admin\",\"pass\":\"nope\"}\r\n",
                    ),
                    Closed('a'),
                ],
            ],
        ),
    ]
}

fn others() -> Vec<Case> {
    let message = format!("PUB s 16384\r\n{}\r\n", "x".repeat(16384));
    vec![
        case(
            Setup::Slow,
            "who does not read is disconnected and the others go on",
            vec![
                quiet('a'),
                quiet('b'),
                vec![
                    send('a', "SUB s 1\r\n"),
                    Sync('a'),
                    send('b', message.repeat(4096)),
                    Sync('b'),
                    Gone('a'),
                    send('b', "SUB i 1\r\nPUB s i 1\r\nx\r\n"),
                    Sync('b'),
                ],
            ],
        ),
        case(Setup::Silent, "who does not answer pings is disconnected", vec![quiet('a'), vec![Closed('a')]]),
        case(
            Setup::Leaving,
            "a server that leaves says so and still serves",
            vec![
                quiet('a'),
                connect('b', "{\"verbose\":false,\"pedantic\":false}"),
                vec![
                    Sync('b'),
                    LameDuck,
                    Until('a', "INFO"),
                    send('a', "SUB l 1\r\nPUB l 1\r\nx\r\n"),
                    Sync('a'),
                    Sync('b'),
                    Leave('a'),
                    Leave('b'),
                ],
            ],
        ),
    ]
}
