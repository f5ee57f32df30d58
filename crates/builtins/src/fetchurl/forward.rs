//! A plain proxy for `http` URLs: it is asked for the whole URL, where `ureq` would ask each for a tunnel, which proxies
//! refuse to make to other ports than that of HTTPS.

use ureq::Error;
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};

/// Puts scheme and host before the path in the first line of each request.
#[derive(Debug)]
pub(crate) struct WholeUrl {
    /// `http://host:port`
    pub(crate) origin: String,
}

impl<In: Transport> Connector<In> for WholeUrl {
    type Out = Asking<In>;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, Error> {
        Ok(chained.map(|transport| Asking { transport, origin: Some(self.origin.clone()) }))
    }
}

#[derive(Debug)]
pub(crate) struct Asking<T> {
    transport: T,
    /// `None` once the first line is out.
    origin: Option<String>,
}

impl<T: Transport> Transport for Asking<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.transport.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        let Some(origin) = self.origin.take() else { return self.transport.transmit_output(amount, timeout) };
        let buffer = self.transport.buffers().output();
        let path = buffer[..amount].iter().position(|byte| *byte == b' ').map_or(0, |space| space + 1);
        let longer = amount + origin.len();
        if longer > buffer.len() {
            return Err(Error::BadUri("it is too long".to_owned()));
        }
        buffer.copy_within(path..amount, path + origin.len());
        buffer[path..path + origin.len()].copy_from_slice(origin.as_bytes());
        self.transport.transmit_output(longer, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.transport.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.transport.is_open()
    }
}
