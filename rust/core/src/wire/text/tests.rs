use super::*;

fn client(body: &str) -> Result<FromClient> {
    FromClient::parse(body.as_bytes())
}
