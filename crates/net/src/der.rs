//! The two facts of an X.509 certificate that rustls does not tell: its validity and its subject
//! alternative names. A reader of DER, not a parser of X.509: it walks to the fields and stops.

/// A tag, its contents, and what follows.
fn take(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Up to four size bytes: certificates are far below 4 GiB.
        0x81..=0x84 => {
            let n = usize::from(first & 0x7f);
            let (size, rest) = (rest.get(..n)?, rest.get(n..)?);
            (size.iter().fold(0_usize, |acc, b| acc << 8 | usize::from(*b)), rest)
        }
        _ => return None,
    };
    Some((tag, rest.get(..len)?, rest.get(len..)?))
}

/// The fields of the signed part from the serial number on.
fn fields(cert: &[u8]) -> Option<&[u8]> {
    let (0x30, cert, _) = take(cert)? else { return None };
    let (0x30, tbs, _) = take(cert)? else { return None };
    match take(tbs)? {
        (0xa0, _, rest) => Some(rest),
        _ => Some(tbs),
    }
}

/// Start and end of a certificate's validity, seconds since the Unix epoch.
pub(crate) fn validity(cert: &[u8]) -> Option<(i64, i64)> {
    let (_serial, rest) = take(fields(cert)?).map(|(_, v, r)| (v, r))?;
    let (_algorithm, rest) = take(rest).map(|(_, v, r)| (v, r))?;
    let (_issuer, rest) = take(rest).map(|(_, v, r)| (v, r))?;
    let (0x30, validity, _) = take(rest)? else { return None };
    let (kind, from, rest) = take(validity)?;
    let from = time(kind, from)?;
    let (kind, to, _) = take(rest)?;
    Some((from, time(kind, to)?))
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ`, as RFC 5280 requires them.
fn time(tag: u8, text: &[u8]) -> Option<i64> {
    let digits = |at: usize, n: usize| -> Option<i64> {
        let part = text.get(at..at + n)?;
        part.iter().try_fold(0_i64, |acc, b| b.is_ascii_digit().then(|| acc * 10 + i64::from(b - b'0')))
    };
    let (year, at) = match tag {
        0x17 => {
            let yy = digits(0, 2)?;
            (if yy >= 50 { 1900 + yy } else { 2000 + yy }, 2)
        }
        0x18 => (digits(0, 4)?, 4),
        _ => return None,
    };
    let (month, day) = (digits(at, 2)?, digits(at + 2, 2)?);
    let (hour, minute, second) = (digits(at + 4, 2)?, digits(at + 6, 2)?, digits(at + 8, 2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Days from the civil calendar, by eras of 400 years.
    let y = if month <= 2 { year - 1 } else { year };
    let (era, yoe) = (y.div_euclid(400), y.rem_euclid(400));
    let doy = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    let days = era * 146_097 + doe - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// Subject alternative names as text: DNS names, e-mail addresses, URIs, IP addresses.
pub(crate) fn alternative_names(cert: &[u8]) -> Option<Vec<String>> {
    const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
    let mut rest = fields(cert)?;
    let mut names = Vec::new();
    while let Some((tag, value, tail)) = take(rest) {
        rest = tail;
        // [3] holds the extensions.
        if tag != 0xa3 {
            continue;
        }
        let (0x30, mut extensions, _) = take(value)? else { return None };
        while let Some((0x30, extension, tail)) = take(extensions) {
            extensions = tail;
            let (0x06, oid, after) = take(extension)? else { return None };
            if oid != SUBJECT_ALT_NAME {
                continue;
            }
            let (tag, value, after) = take(after)?;
            // The "critical" flag may stand between.
            let (tag, value) = if tag == 0x01 { take(after).map(|(t, v, _)| (t, v))? } else { (tag, value) };
            if tag != 0x04 {
                return None;
            }
            let (0x30, mut list, _) = take(value)? else { return None };
            while let Some((tag, name, tail)) = take(list) {
                list = tail;
                match tag {
                    0x81 | 0x82 | 0x86 => names.push(String::from_utf8_lossy(name).into_owned()),
                    0x87 => {
                        if let Ok(v4) = <[u8; 4]>::try_from(name) {
                            names.push(std::net::Ipv4Addr::from(v4).to_string());
                        } else if let Ok(v6) = <[u8; 16]>::try_from(name) {
                            names.push(std::net::Ipv6Addr::from(v6).to_string());
                        }
                    }
                    _ => {}
                }
            }
        }
    }
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_rcgen_wrote() {
        let names = vec!["a.example".to_string(), "127.0.0.1".to_string(), "::1".to_string()];
        let mut params = rcgen::CertificateParams::new(names.clone()).unwrap();
        params.not_before = rcgen::date_time_ymd(2024, 2, 29);
        params.not_after = rcgen::date_time_ymd(2061, 3, 1);
        let cert = params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        assert_eq!(validity(cert.der()), Some((1_709_164_800, 2876860800)));
        assert_eq!(alternative_names(cert.der()), Some(names));
    }

    #[test]
    fn broken_certificates_are_none_not_a_panic() {
        let cert = rcgen::generate_simple_self_signed(vec!["x".to_string()]).unwrap();
        let der = cert.cert.der().to_vec();
        for end in 0..der.len() {
            let _ = (validity(&der[..end]), alternative_names(&der[..end]));
        }
        for i in 0..der.len() {
            let mut broken = der.clone();
            broken[i] ^= 0xff;
            let _ = (validity(&broken), alternative_names(&broken));
        }
    }
}
