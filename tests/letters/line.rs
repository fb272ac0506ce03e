//! A TCP proxy that can be taken away: its connections end, and new ones are refused at once.

use anyhow::Result;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub struct Line {
    pub port: u16,
    is_up: watch::Sender<bool>,
}

impl Line {
    /// A line to this port of 127.0.0.1.
    pub async fn to(port: u16) -> Result<Line> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (is_up, up) = watch::channel(true);
        let line = Line { port: listener.local_addr()?.port(), is_up };
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut up = up.clone();
                if !*up.borrow_and_update() {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = up.wait_for(|is_up| !is_up) => {}
                    }
                });
            }
        });
        Ok(line)
    }

    pub fn set_up(&self, is_up: bool) {
        self.is_up.send_replace(is_up);
    }
}
