//! Lends this machine's device to training programs on others, which need nothing of this process
//! but Burn: marks are the client's.
//!
//! `PC_TOKEN=secret cargo run --release -p pc-burn --features remote-websocket,remote-server
//! --example serve -- --address 0.0.0.0:3000`
//!
//! `--over iroh --key server.key` serves by Iroh, encrypted and without relays.
#![allow(missing_docs)]

use std::{
    error::Error,
    io::Write,
    net::{SocketAddr, TcpListener, UdpSocket},
};

use burn::{
    server::{IrohIdentity, IrohRelays, IrohTransport, RemoteServer, TokenAuthorizer},
    server::{Transport, WebSocketTransport},
    tensor::Device,
};

struct Options {
    address: SocketAddr,
    over: String,
    key: Option<String>,
    device: String,
}

impl Options {
    /// # Errors
    /// An option that is not known, or a value that is none.
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 3000)),
            over: "websocket".to_owned(),
            key: None,
            device: "flex".to_owned(),
        };
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} wants a value"))?;
            match name.as_str() {
                "--address" => options.address = value.parse()?,
                "--over" => options.over = value,
                "--key" => options.key = Some(value),
                "--device" => options.device = value,
                _ => return Err(format!("unknown option {name}").into()),
            }
        }
        Ok(options)
    }

    fn device(&self) -> Result<Device, Box<dyn Error>> {
        match self.device.as_str() {
            "flex" => Ok(Device::flex()),
            #[cfg(feature = "wgpu")]
            "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
            other => Err(format!("no device {other} in this build: flex, or wgpu").into()),
        }
    }

    /// How clients come, and the name that they know this server by.
    fn transport(&self) -> Result<(Transport, String), Box<dyn Error>> {
        match self.over.as_str() {
            "websocket" => {
                // Port 0 is whichever is free, and is known once it is bound.
                let listener = TcpListener::bind(self.address)?;
                let name = format!("ws://{}", listener.local_addr()?);
                Ok((WebSocketTransport::from_listener(listener).into(), name))
            }
            "iroh" => {
                let identity = match &self.key {
                    Some(path) => IrohIdentity::load_or_create(path)?,
                    None => IrohIdentity::random(),
                };
                let address = match self.address.port() {
                    0 => UdpSocket::bind(self.address)?.local_addr()?,
                    _ => self.address,
                };
                let transport = IrohTransport::new(identity)
                    .with_relays(IrohRelays::Disabled)
                    .with_port(address.port());
                let name = format!("iroh://{}@{address}", transport.id());
                Ok((transport.into(), name))
            }
            other => Err(format!("no transport {other}: websocket, or iroh").into()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse(std::env::args().skip(1))?;
    let mut server = RemoteServer::new([options.device()?]);
    match std::env::var("PC_TOKEN") {
        Ok(token) => server = server.with_authorizer(TokenAuthorizer::new(token)?),
        // Iroh listens on every interface.
        Err(_) if options.over == "websocket" && options.address.ip().is_loopback() => {}
        Err(_) => return Err("set PC_TOKEN: without it anyone who can connect is let in".into()),
    }
    let (transport, name) = options.transport()?;
    println!("serving {} at {name}", options.device);
    std::io::stdout().flush()?;
    server.serve(transport)?;
    Ok(())
}
