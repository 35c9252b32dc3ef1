//! Servers in processes of their own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
};

use burn::tensor::Device;

use crate::devices;

pub(crate) const TOKEN: &str = "a token for tests";

/// How a client reaches a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    WebSocket,
    Iroh,
}

/// The example `serve` in a process, which ends with this value.
pub(crate) struct Server {
    process: Child,
    /// What clients call it.
    pub(crate) name: String,
}

impl Server {
    pub(crate) fn start(over: Over) -> Self {
        let over = match over {
            Over::WebSocket => "websocket",
            Over::Iroh => "iroh",
        };
        let tests = std::env::current_exe().unwrap();
        let program = tests.parent().and_then(|deps| deps.parent()).unwrap().join("examples/serve");
        let mut process = Command::new(&program)
            .args(["--address", "127.0.0.1:0", "--over", over])
            .env("PC_TOKEN", TOKEN)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error}; `cargo xtask remote` builds it", program.display())
            });
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let name = line.trim().rsplit_once(" at ").expect("a server says where it is").1.to_owned();
        // What it logs must not fill the pipe.
        std::thread::spawn(move || std::io::copy(&mut output.by_ref(), &mut std::io::sink()));
        Self { process, name }
    }

    /// A device of the server, with autodiff.
    pub(crate) fn device(&self) -> Device {
        devices::open(&self.name, Some(TOKEN)).unwrap()
    }

    /// Ends the process at once, as a machine that fails would.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_server_opens_its_device_to_those_who_know_the_token() {
    for over in [Over::WebSocket, Over::Iroh] {
        let server = Server::start(over);
        for wrong in [None, Some("another token")] {
            let refused = devices::open(&server.name, wrong).expect_err("let in").to_string();
            assert!(refused.contains(&server.name), "{refused}");
            assert!(refused.contains("rejected the credential"), "{refused}");
        }
        let right = server.device();
        let sum = burn::tensor::Tensor::<1>::from_floats([1.0, 2.0], &right).sum();
        assert_eq!(sum.into_scalar::<f32>(), 3.0);
    }
}

#[test]
fn names_that_are_no_device_are_refused() {
    for name in ["tpu", "http://127.0.0.1:1", "iroh://nowhere"] {
        let refused = devices::open(name, None).expect_err(name).to_string();
        assert!(refused.contains(name), "{refused}");
    }
}
