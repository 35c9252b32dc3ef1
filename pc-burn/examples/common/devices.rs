//! Devices by name: of this process, and of servers on other machines.

use std::error::Error;

use burn::tensor::Device;

/// Opens a device for training: `flex`, `wgpu`, or a server's `ws://host:port` or
/// `iroh://id@address:port`, which may ask for a token.
///
/// # Errors
/// A name that is none of these, a device that this program was not built for, a server that is
/// not there or does not let us in.
pub(crate) fn open(name: &str, token: Option<&str>) -> Result<Device, Box<dyn Error>> {
    let device = match name {
        "flex" => Device::flex(),
        #[cfg(feature = "wgpu")]
        "wgpu" => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        _ => server(name, token)?,
    };
    Ok(device.autodiff())
}

#[cfg(feature = "remote")]
fn server(name: &str, token: Option<&str>) -> Result<Device, Box<dyn Error>> {
    use burn::remote::{EndpointId, IrohHost, IrohRelays, RemoteHost};

    let host = match name.split_once("://") {
        #[cfg(feature = "remote-websocket")]
        Some(("ws", _)) => RemoteHost::websocket(name),
        Some(("iroh", place)) => {
            let (id, address) = place
                .split_once('@')
                .ok_or_else(|| format!("{name}: a server by Iroh is iroh://id@address:port"))?;
            let host = IrohHost::new(id.parse::<EndpointId>()?)
                .with_relays(IrohRelays::Disabled)
                .with_address(address.parse()?);
            RemoteHost::iroh(host)
        }
        _ => return Err(unknown(name)),
    };
    let host = match token {
        Some(token) => host.with_credential(token),
        None => host,
    };
    Ok(Device::remote_options(&host).init().map_err(|error| format!("{name}: {error}"))?)
}

#[cfg(not(feature = "remote"))]
fn server(name: &str, _: Option<&str>) -> Result<Device, Box<dyn Error>> {
    Err(unknown(name))
}

fn unknown(name: &str) -> Box<dyn Error> {
    format!(
        "no device {name} in this build: there is flex, with the feature `wgpu` wgpu, with \
         `remote-websocket` ws://host:port, and with `remote` iroh://id@address:port"
    )
    .into()
}
