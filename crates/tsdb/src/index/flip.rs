//! Puts a flipped bit right. A CRC32C differs in its own way for each bit that is another one, up to 2^31 of
//! them, so a sum that is wrong by one bit says which bit it is. Memory and disks flip single bits; what
//! damages more than that is not found here, but for one in some hundred cases of a table of megabytes, where a
//! bit happens to make the sum right: whoever uses this checks what comes out.

/// The polynomial of CRC32C, lowest bit first.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// Flips the bit of `data` that makes its CRC32C `sum`. True also where the data is right and the bit is one
/// of the sum's; false where no single bit does it. Some 10 ns a byte.
pub(super) fn mend(data: &mut [u8], sum: u32) -> bool {
    let wrong = crc32c::crc32c(data) ^ sum;
    if wrong.count_ones() <= 1 {
        return true;
    }
    // What a bit of the last byte does to the sum; of each byte before, what one more byte of zeros makes of it.
    let mut of_bits: [u32; 8] = std::array::from_fn(|bit| byte_of_zeros(1 << bit));
    for byte in data.iter_mut().rev() {
        if let Some(bit) = of_bits.iter().position(|of_bit| *of_bit == wrong) {
            *byte ^= 1 << bit;
            return true;
        }
        of_bits.iter_mut().for_each(|of_bit| *of_bit = byte_of_zeros(*of_bit));
    }
    false
}

fn byte_of_zeros(mut sum: u32) -> u32 {
    for _ in 0..8 {
        sum = (sum >> 1) ^ (POLYNOMIAL & 0_u32.wrapping_sub(sum & 1));
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bit_is_found() {
        let good: Vec<u8> = (0..300_u32).map(|i| (i * 7 + i / 11) as u8).collect();
        let sum = crc32c::crc32c(&good);
        for at in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(mend(&mut bad, sum), "bit {at}");
            assert_eq!(bad, good, "bit {at}");
        }
        for bit in 0..32 {
            let mut same = good.clone();
            assert!(mend(&mut same, sum ^ (1 << bit)));
            assert_eq!(same, good);
        }
        let mut worse = good.clone();
        worse[10] ^= 3;
        assert!(!mend(&mut worse, sum));
        assert!(!mend(&mut [], 3) && mend(&mut [], 0));
    }
}
