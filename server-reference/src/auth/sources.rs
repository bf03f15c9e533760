//! Where a token may come from besides `hello`: header, query, cookie (V3, §8.3).

use http::{HeaderMap, header};
use wardline::protocol::Token;

/// The token of a request: `Authorization: Bearer`, then `?token=`, then the cookie `token`.
#[must_use]
pub fn token_of(headers: &HeaderMap, query: Option<&str>) -> Option<Token> {
    bearer(headers).or_else(|| in_query(query)).or_else(|| in_cookie(headers)).map(Token::from)
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn in_query(query: Option<&str>) -> Option<String> {
    let token = query?.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    // A JWT has only characters that need no escape; some clients escape the dots.
    let token = token.replace("%2E", ".").replace("%2e", ".");
    (!token.is_empty()).then_some(token)
}

fn in_cookie(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix("token="))
        .map(|token| token.trim_matches('"').to_owned())
        .filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_by_header_query_or_cookie() {
        let of = |headers: &[(&'static str, &str)], query| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, value.parse().unwrap());
            }
            token_of(&map, query).map(|token| token.expose().to_owned())
        };
        assert_eq!(of(&[("authorization", "Bearer a")], Some("token=b")).as_deref(), Some("a"));
        assert_eq!(of(&[("authorization", "Basic a")], Some("x=1&token=b")).as_deref(), Some("b"));
        assert_eq!(of(&[("cookie", "x=1; token=c")], None).as_deref(), Some("c"));
        assert_eq!(of(&[("cookie", "mytoken=c")], Some("atoken=b")), None);
    }
}
