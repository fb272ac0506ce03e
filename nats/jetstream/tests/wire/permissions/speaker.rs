use std::time::Duration;

use anyhow::{Context, Result, bail};
use testkit::Nats;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A client that speaks the protocol by itself: it may say anything, and sees each refusal in its place.
pub struct Speaker {
    connection: BufReader<TcpStream>,
    /// Where answers come to.
    inbox: String,
}

/// What the server said to something.
#[derive(Debug)]
pub enum Said {
    Refused(String),
    /// An answer came: the subject that it is to be answered at, and its bytes.
    Answer(String, String),
    Nothing,
}

enum Frame {
    Message { reply: String, text: String },
    Line(String),
}

impl Speaker {
    /// Logs in as the role's user, and listens to an inbox of the role's.
    pub async fn login(nats: &Nats, role: &str) -> Result<Speaker> {
        let (address, password) = nats.login()?;
        let connection = BufReader::new(TcpStream::connect(address).await?);
        let mut speaker = Speaker { connection, inbox: format!("_INBOX_{role}.answers") };
        let login = serde_json::json!({
            "user": role, "pass": password, "verbose": false, "headers": true, "protocol": 1,
        });
        speaker.connection.get_mut().write_all(format!("CONNECT {login}\r\n").as_bytes()).await?;
        let inbox = speaker.inbox.clone();
        match speaker.subscribe(&inbox, None).await? {
            Said::Refused(refusal) => bail!("{role} does not hear its own inbox: {refusal}"),
            _ => Ok(speaker),
        }
    }

    /// Publishes with an inbox of its own to be answered at; waits for that if it is said to come.
    pub async fn ask(&mut self, subject: &str, payload: &str, has_answer: bool) -> Result<Said> {
        let inbox = self.inbox.clone();
        self.publish(subject, &inbox, payload, has_answer).await
    }

    /// Publishes, to be answered anywhere.
    pub async fn publish(&mut self, subject: &str, reply: &str, payload: &str, has_answer: bool) -> Result<Said> {
        let text = format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len());
        self.say(&text, has_answer).await
    }

    pub async fn subscribe(&mut self, subject: &str, queue: Option<&str>) -> Result<Said> {
        self.say(&format!("SUB {subject} {} 1\r\n", queue.unwrap_or_default()), false).await
    }

    /// The server answers a ping after everything that came before it: a refusal too.
    async fn say(&mut self, text: &str, has_answer: bool) -> Result<Said> {
        self.connection.get_mut().write_all(format!("{text}PING\r\n").as_bytes()).await?;
        let saying = async {
            let mut said = Said::Nothing;
            loop {
                match self.frame().await? {
                    Frame::Line(line) if line == "PONG" => break,
                    Frame::Line(line) if line.starts_with("-ERR") => said = Said::Refused(line),
                    // An answer to what was said before may come in between.
                    Frame::Message { .. } if matches!(said, Said::Refused(_)) => {}
                    Frame::Message { reply, text } => said = Said::Answer(reply, text),
                    Frame::Line(_) => {}
                }
            }
            while has_answer && matches!(said, Said::Nothing) {
                if let Frame::Message { reply, text } = self.frame().await? {
                    said = Said::Answer(reply, text);
                }
            }
            Ok(said)
        };
        tokio::time::timeout(ANSWER_WITHIN, saying).await.with_context(|| format!("no answer to {text:?}"))?
    }

    async fn frame(&mut self) -> Result<Frame> {
        let mut line = String::new();
        if self.connection.read_line(&mut line).await? == 0 {
            bail!("the server hung up");
        }
        let line = line.trim_end().to_owned();
        let words: Vec<&str> = line.split(' ').collect();
        // Subject, subscription, perhaps the subject to answer at, and one length, or two where there are headers.
        let lengths = match words[0] {
            "MSG" => 1,
            "HMSG" => 2,
            "PING" => {
                self.connection.get_mut().write_all(b"PONG\r\n").await?;
                return Ok(Frame::Line(line));
            }
            _ => return Ok(Frame::Line(line)),
        };
        let length: usize = words.last().context("a length")?.parse()?;
        let mut bytes = vec![0; length + 2];
        self.connection.read_exact(&mut bytes).await?;
        let reply = if words.len() == 4 + lengths { words[3] } else { "" };
        Ok(Frame::Message { reply: reply.to_owned(), text: String::from_utf8_lossy(&bytes).into_owned() })
    }
}
