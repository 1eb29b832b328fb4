//! Elementary functions whose last bit is that of Go's `math` package on amd64, since users see that bit: the
//! C library's are as good, but round a few values in a hundred to the other side.
//!
//! The algorithms and coefficients are those of Go's package, which has them from Cephes (S. L. Moshier),
//! FreeBSD's msun and SLEEF (N. Shibata, public domain). Notice of FreeBSD's part (logarithms):
//! "Copyright (C) 1993 by Sun Microsystems, Inc. All rights reserved. Developed at SunPro, a Sun Microsystems,
//! Inc. business. Permission to use, copy, modify, and distribute this software is freely granted, provided that
//! this notice is preserved." Of Go's: "Copyright 2009 The Go Authors", BSD-3-Clause.
//!
//! Order of operations matters everywhere: nothing may be rearranged. Only `exp` fuses multiplication and
//! addition, as Go does on processors with FMA (all amd64 ones of the last ten years).

// Coefficients stand as they were published; the nearest doubles are the same.
#![allow(clippy::excessive_precision)]

use std::f64::consts::{FRAC_1_PI, FRAC_PI_2, FRAC_PI_4, LN_2, LOG2_E, LOG10_E, PI};

const LN2_HI: f64 = 6.931_471_803_691_238_164_90e-01;
const LN2_LO: f64 = 1.908_214_929_270_587_700_02e-10;
/// Coefficients of log and log1p.
const L: [f64; 7] = [
    6.666_666_666_666_735_130e-01,
    3.999_999_999_940_941_908e-01,
    2.857_142_874_366_239_149e-01,
    2.222_219_843_214_978_396e-01,
    1.818_357_216_161_805_012e-01,
    1.531_383_769_920_937_332e-01,
    1.479_819_860_511_658_591e-01,
];
const MANTISSA: u64 = (1 << 52) - 1;

/// `math.Exp`
#[must_use]
pub fn exp(x: f64) -> f64 {
    const LN2_UPPER: f64 = 0.693_147_180_559_662_956_511_601_805_686_950_683_593_75;
    const LN2_LOWER: f64 = 0.282_352_905_630_315_771_225_884_481_750_134_360_255_254_120_68e-12;
    const OVERFLOW: f64 = 7.097_827_128_933_84e+02;
    const TAYLOR: [f64; 7] = [
        1.984_126_984_126_984_127_0e-4,
        1.388_888_888_888_888_888_9e-3,
        8.333_333_333_333_333_333_3e-3,
        4.166_666_666_666_666_666_7e-2,
        1.666_666_666_666_666_666_7e-1,
        0.5,
        1.0,
    ];
    if x.is_nan() {
        return x;
    }
    if x > OVERFLOW {
        return f64::INFINITY;
    }
    // The smallest double is e^-745.13; beyond, the conversion to an exponent would not fit either.
    if x < -800.0 {
        return 0.0;
    }
    let exponent = (x * LOG2_E).round_ties_even();
    let r = (-exponent).mul_add(LN2_LOWER, (-exponent).mul_add(LN2_UPPER, x)) * 0.0625;
    let p = TAYLOR.iter().fold(2.480_158_730_158_730_158_7e-5, |p: f64, c| p.mul_add(r, *c));
    // e^r - 1, and from it e^(16 r) by four squarings.
    let mut y = r * p;
    for _ in 0..3 {
        y *= y + 2.0;
    }
    let y = (y + 2.0).mul_add(y, 1.0);
    let biased = exponent as i64 + 0x3ff;
    if biased >= 0x7ff {
        return f64::INFINITY;
    }
    if biased > 0 {
        return y * f64::from_bits((biased as u64) << 52);
    }
    if biased < -52 {
        return 0.0;
    }
    y * f64::from_bits(((biased + 0x3fe) as u64) << 52) * f64::from_bits(1 << 52)
}

/// Brings a subnormal number into the normal range: (number, exponent taken out).
fn normalize(x: f64) -> (f64, i64) {
    if x.abs() < f64::MIN_POSITIVE { (x * (1_u64 << 52) as f64, -52) } else { (x, 0) }
}

/// `math.Frexp`: x = fraction * 2^exponent, the fraction in [0.5, 1).
fn frexp(x: f64) -> (f64, i64) {
    if x == 0.0 || !x.is_finite() {
        return (x, 0);
    }
    let (x, e) = normalize(x);
    let bits = x.to_bits();
    let exponent = e + ((bits >> 52) & 0x7ff) as i64 - 1022;
    (f64::from_bits(bits & !(0x7ff << 52) | 1022 << 52), exponent)
}

/// `math.Ldexp`
fn ldexp(fraction: f64, exponent: i64) -> f64 {
    if fraction == 0.0 || !fraction.is_finite() {
        return fraction;
    }
    let (fraction, e) = normalize(fraction);
    let bits = fraction.to_bits();
    let mut exponent = exponent.saturating_add(e).saturating_add(((bits >> 52) & 0x7ff) as i64 - 1023);
    if exponent < -1075 {
        return 0_f64.copysign(fraction);
    }
    if exponent > 1023 {
        return f64::INFINITY.copysign(fraction);
    }
    let mut m = 1.0;
    if exponent < -1022 {
        exponent += 53;
        m = 1.0 / (1_u64 << 53) as f64;
    }
    m * f64::from_bits(bits & !(0x7ff << 52) | ((exponent + 1023) as u64) << 52)
}

/// `math.Exp2`
#[must_use]
pub fn exp2(x: f64) -> f64 {
    const P: [f64; 5] = [
        1.666_666_666_666_666_574_15e-01,
        -2.777_777_777_701_559_338_42e-03,
        6.613_756_321_437_934_361_17e-05,
        -1.653_390_220_546_525_153_90e-06,
        4.138_136_797_057_238_460_39e-08,
    ];
    if x.is_nan() {
        return x;
    }
    if x > 1.023_999_999_999_999_9e+03 {
        return f64::INFINITY;
    }
    if x < -1.0740e+03 {
        return 0.0;
    }
    let k = if x > 0.0 {
        (x + 0.5).trunc()
    } else if x < 0.0 {
        (x - 0.5).trunc()
    } else {
        0.0
    };
    let t = x - k;
    let (hi, lo) = (t * LN2_HI, -t * LN2_LO);
    let r = hi - lo;
    let t = r * r;
    let c = r - t * (P[0] + t * (P[1] + t * (P[2] + t * (P[3] + t * P[4]))));
    ldexp(1.0 - ((lo - (r * c) / (2.0 - c)) - hi), k as i64)
}

/// `math.Log`. Subnormal numbers are not normalised, as in Go's assembly.
#[must_use]
pub fn ln(x: f64) -> f64 {
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x < 0.0 {
        return f64::NAN;
    }
    if !x.is_finite() {
        return x;
    }
    let bits = x.to_bits();
    let mut f1 = f64::from_bits(bits & MANTISSA | 0.5_f64.to_bits());
    let mut k = ((bits >> 52) as i64 - 0x3fe) as f64;
    if f1 <= std::f64::consts::FRAC_1_SQRT_2 {
        k -= 1.0;
        f1 *= 2.0;
    }
    let f = f1 - 1.0;
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let t1 = s2 * (L[0] + s4 * (L[2] + s4 * (L[4] + s4 * L[6])));
    let t2 = s4 * (L[1] + s4 * (L[3] + s4 * L[5]));
    let r = t1 + t2;
    let half_square = 0.5 * f * f;
    k * LN2_HI - ((half_square - (s * (half_square + r) + k * LN2_LO)) - f)
}

/// `math.Log2`
#[must_use]
pub fn log2(x: f64) -> f64 {
    let (fraction, exponent) = frexp(x);
    // Powers of two are exact.
    if fraction == 0.5 {
        return (exponent - 1) as f64;
    }
    ln(fraction) * LOG2_E + exponent as f64
}

/// `math.Log10`
#[must_use]
pub fn log10(x: f64) -> f64 {
    ln(x) * LOG10_E
}

/// `math.Log1p`
fn ln_1p(x: f64) -> f64 {
    const SQRT2_LESS_1: f64 = 4.142_135_623_730_950_488_017e-01;
    const SQRT2_HALF_LESS_1: f64 = -2.928_932_188_134_524_755_992e-01;
    const SMALL: f64 = 1.0 / (1_u64 << 29) as f64;
    const TINY: f64 = 1.0 / (1_u64 << 54) as f64;
    if x < -1.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == -1.0 {
        return f64::NEG_INFINITY;
    }
    if x == f64::INFINITY {
        return x;
    }
    let magnitude = x.abs();
    let (mut f, mut rest, mut k, mut c) = (0.0, 0, 1, 0.0);
    if magnitude < SQRT2_LESS_1 {
        if magnitude < SMALL {
            return if magnitude < TINY { x } else { x - x * x * 0.5 };
        }
        if x > SQRT2_HALF_LESS_1 {
            (k, f, rest) = (0, x, 1);
        }
    }
    if k != 0 {
        let u;
        if magnitude < (1_u64 << 53) as f64 {
            u = 1.0 + x;
            k = (u.to_bits() >> 52) as i64 - 1023;
            c = if k > 0 { 1.0 - (u - x) } else { x - (u - 1.0) };
            c /= u;
        } else {
            u = x;
            k = (u.to_bits() >> 52) as i64 - 1023;
        }
        rest = u.to_bits() & MANTISSA;
        // The mantissa of the square root of two.
        if rest < 0x0006_a09e_667f_3bcd {
            f = f64::from_bits(rest | 0x3ff0_0000_0000_0000) - 1.0;
        } else {
            k += 1;
            f = f64::from_bits(rest | 0x3fe0_0000_0000_0000) - 1.0;
            rest = (0x0010_0000_0000_0000 - rest) >> 2;
        }
    }
    let half_square = 0.5 * f * f;
    let n = k as f64;
    if rest == 0 {
        if f == 0.0 {
            return if k == 0 { 0.0 } else { n * LN2_HI + (c + n * LN2_LO) };
        }
        let r = half_square * (1.0 - 0.666_666_666_666_666_66 * f);
        return if k == 0 { f - r } else { n * LN2_HI - ((r - (n * LN2_LO + c)) - f) };
    }
    let s = f / (2.0 + f);
    let z = s * s;
    let r = z * (L[0] + z * (L[1] + z * (L[2] + z * (L[3] + z * (L[4] + z * (L[5] + z * L[6]))))));
    if k == 0 {
        return f - (half_square - s * (half_square + r));
    }
    n * LN2_HI - ((half_square - (s * (half_square + r) + (n * LN2_LO + c))) - f)
}

/// `math.Pow`
#[must_use]
pub fn pow(x: f64, y: f64) -> f64 {
    if y == 0.0 || x == 1.0 {
        return 1.0;
    }
    if y == 1.0 {
        return x;
    }
    if x.is_nan() || y.is_nan() {
        return f64::NAN;
    }
    if x == 0.0 || x.is_infinite() || y.is_infinite() {
        // IEEE's special cases, which both languages follow.
        return x.powf(y);
    }
    if y == 0.5 {
        return x.sqrt();
    }
    if y == -0.5 {
        return 1.0 / x.sqrt();
    }
    let (mut whole, mut part) = (y.abs().trunc(), y.abs().fract());
    if part != 0.0 && x < 0.0 {
        return f64::NAN;
    }
    if whole >= (1_u64 << 63) as f64 {
        if x == -1.0 {
            return 1.0;
        }
        return if (x.abs() < 1.0) == (y > 0.0) { 0.0 } else { f64::INFINITY };
    }
    let (mut a, mut e) = (1.0, 0_i64);
    if part != 0.0 {
        if part > 0.5 {
            part -= 1.0;
            whole += 1.0;
        }
        a = exp(part * ln(x));
    }
    // By squarings, the power of two apart.
    let (mut x1, mut xe) = frexp(x);
    let mut i = whole as i64;
    while i != 0 {
        if !(-(1 << 12)..=1 << 12).contains(&xe) {
            e += xe;
            break;
        }
        if i & 1 == 1 {
            a *= x1;
            e += xe;
        }
        x1 *= x1;
        xe <<= 1;
        if x1 < 0.5 {
            x1 += x1;
            xe -= 1;
        }
        i >>= 1;
    }
    if y < 0.0 {
        a = 1.0 / a;
        e = -e;
    }
    ldexp(a, e)
}

/// `math.Sinh`
#[must_use]
pub fn sinh(x: f64) -> f64 {
    const P: [f64; 4] = [
        -0.630_767_364_049_771_699_118_478_725_1e+6,
        -0.899_127_202_203_950_935_539_801_351_1e+5,
        -0.289_421_135_598_956_380_728_466_036_6e+4,
        -0.263_056_321_339_749_706_281_948_9e+2,
    ];
    const Q: [f64; 3] = [
        -0.630_767_364_049_771_699_121_207_727_7e+6,
        0.152_151_737_879_001_907_069_648_517_6e+5,
        -0.173_678_953_558_233_699_533_450_911e+3,
    ];
    let z = if x < 0.0 { -x } else { x };
    let y = if z > 21.0 {
        exp(z) * 0.5
    } else if z > 0.5 {
        let e = exp(z);
        (e - 1.0 / e) * 0.5
    } else {
        let s = z * z;
        (((P[3] * s + P[2]) * s + P[1]) * s + P[0]) * z / (((s + Q[2]) * s + Q[1]) * s + Q[0])
    };
    if x < 0.0 { -y } else { y }
}

/// `math.Cosh`
#[must_use]
pub fn cosh(x: f64) -> f64 {
    let e = exp(x.abs());
    if x.abs() > 21.0 { e * 0.5 } else { (e + 1.0 / e) * 0.5 }
}

/// `math.Tanh`
#[must_use]
pub fn tanh(x: f64) -> f64 {
    const P: [f64; 3] =
        [-9.643_991_794_250_522_386_28e-1, -9.928_772_310_019_185_865_64e1, -1.614_687_684_417_084_479_52e3];
    const Q: [f64; 3] =
        [1.128_116_784_916_329_314_02e2, 2.235_488_390_601_004_485_83e3, 4.844_063_053_251_254_860_48e3];
    /// log(2^127)
    const MAX: f64 = 8.802_969_193_111_305_429_598_8e+01;
    let z = x.abs();
    if z > 0.5 * MAX {
        return if x < 0.0 { -1.0 } else { 1.0 };
    }
    if z >= 0.625 {
        let y = 1.0 - 2.0 / (exp(2.0 * z) + 1.0);
        return if x < 0.0 { -y } else { y };
    }
    if x == 0.0 {
        return x;
    }
    let s = x * x;
    x + x * s * ((P[0] * s + P[1]) * s + P[2]) / (((s + Q[0]) * s + Q[1]) * s + Q[2])
}

const NEAR_ZERO: f64 = 1.0 / (1_u64 << 28) as f64;
const LARGE: f64 = (1_u64 << 28) as f64;

/// `math.Asinh`
#[must_use]
pub fn asinh(x: f64) -> f64 {
    if !x.is_finite() {
        return x;
    }
    let z = if x < 0.0 { -x } else { x };
    let y = if z > LARGE {
        ln(z) + LN_2
    } else if z > 2.0 {
        ln(2.0 * z + 1.0 / ((z * z + 1.0).sqrt() + z))
    } else if z < NEAR_ZERO {
        z
    } else {
        ln_1p(z + z * z / (1.0 + (1.0 + z * z).sqrt()))
    };
    if x < 0.0 { -y } else { y }
}

/// `math.Acosh`
#[must_use]
pub fn acosh(x: f64) -> f64 {
    if x < 1.0 || x.is_nan() {
        return f64::NAN;
    }
    if x == 1.0 {
        return 0.0;
    }
    if x >= LARGE {
        return ln(x) + LN_2;
    }
    if x > 2.0 {
        return ln(2.0 * x - 1.0 / (x + (x * x - 1.0).sqrt()));
    }
    let t = x - 1.0;
    ln_1p(t + (2.0 * t + t * t).sqrt())
}

/// `math.Atanh`
#[must_use]
pub fn atanh(x: f64) -> f64 {
    if !(-1.0..=1.0).contains(&x) {
        return f64::NAN;
    }
    if x.abs() == 1.0 {
        return f64::INFINITY.copysign(x);
    }
    let z = if x < 0.0 { -x } else { x };
    let y = if z < NEAR_ZERO {
        z
    } else if z < 0.5 {
        let t = z + z;
        0.5 * ln_1p(t + t * z / (1.0 - z))
    } else {
        0.5 * ln_1p((z + z) / (1.0 - z))
    };
    if x < 0.0 { -y } else { y }
}

/// Binary digits of 4/pi, 64 a number; the first has the whole part.
const FOUR_BY_PI: [u64; 20] = [
    0x0000_0000_0000_0001,
    0x45f3_06dc_9c88_2a53,
    0xf84e_afa3_ea69_bb81,
    0xb6c5_2b32_7887_2083,
    0xfca2_c757_bd77_8ac3,
    0x6e48_dc74_849b_a5c0,
    0x0c92_5dd4_13a3_2439,
    0xfc3b_d639_6253_4e7d,
    0xd104_6bea_5d76_8909,
    0xd338_e04d_68be_fc82,
    0x7323_ac73_06a6_73e9,
    0x3908_bf17_7bf2_5076,
    0x3ff1_2fff_bc0b_301f,
    0xde5e_2316_b414_da3e,
    0xda6c_fd9e_4f96_136e,
    0x9e8c_7ecd_3cbf_d45a,
    0xea4f_758f_d7cb_e2f6,
    0x7a0e_73ef_14a5_25d4,
    0xd7f6_bf62_3f1a_ba10,
    0xac06_608d_f8f6_d757,
];

/// Octant (even, modulo 8) and rest of a positive number; `folded` false: the octant as it comes.
fn reduce(x: f64) -> (u64, f64) {
    const PI4: [f64; 3] =
        [7.853_981_256_484_985_351_56e-1, 3.774_894_707_930_798_176_68e-8, 2.695_151_429_079_059_526_45e-15];
    if x >= (1_u64 << 29) as f64 {
        return reduce_large(x);
    }
    let mut j = (x * (4.0 * FRAC_1_PI)) as u64;
    let mut y = j as f64;
    if j & 1 == 1 {
        j += 1;
        y += 1.0;
    }
    (j & 7, ((x - y * PI4[0]) - y * PI4[1]) - y * PI4[2])
}

/// Payne and Hanek's reduction, from 2^29 on.
fn reduce_large(x: f64) -> (u64, f64) {
    let bits = x.to_bits();
    // At least 29 - 52, at most 1023 - 52: the digits below are within the table.
    let shift = ((bits >> 52) & 0x7ff) as i64 - 1023 - 52 + 61;
    let (digit, shift) = ((shift / 64) as usize, (shift % 64) as u32);
    let mantissa = u128::from(bits & MANTISSA | 1 << 52);
    let at = |n: usize| -> u128 {
        let pair = u128::from(FOUR_BY_PI[n]) << 64 | u128::from(FOUR_BY_PI.get(n + 1).copied().unwrap_or(0));
        u128::from((pair << shift >> 64) as u64)
    };
    let low = at(digit + 1) * mantissa + ((at(digit + 2) * mantissa) >> 64);
    let product = ((at(digit) * mantissa) << 64).wrapping_add(low);
    let (hi, lo) = ((product >> 64) as u64, product as u64);
    let mut j = hi >> 61;
    let hi = hi << 3 | lo >> 61;
    let zeros = hi.leading_zeros();
    let exponent = 1023 - u64::from(zeros + 1);
    let wide = u128::from(hi) << 64 | u128::from(lo);
    let fraction = (wide << (zeros + 1) >> 64) as u64;
    let mut z = f64::from_bits(fraction >> 12 | exponent << 52);
    if j & 1 == 1 {
        j = (j + 1) & 7;
        z -= 1.0;
    }
    (j, z * FRAC_PI_4)
}

const SIN: [f64; 6] = [
    1.589_623_015_765_465_680_60e-10,
    -2.505_074_776_285_780_728_66e-8,
    2.755_731_362_138_572_452_13e-6,
    -1.984_126_982_958_953_859_96e-4,
    8.333_333_333_322_118_588_78e-3,
    -1.666_666_666_666_663_072_95e-1,
];
const COS: [f64; 6] = [
    -1.135_853_652_138_768_173_00e-11,
    2.087_570_084_197_473_167_78e-9,
    -2.755_731_417_929_673_881_12e-7,
    2.480_158_728_885_170_453_48e-5,
    -1.388_888_888_887_305_641_16e-3,
    4.166_666_666_666_659_292_18e-2,
];

fn polynomial(coefficients: &[f64; 6], zz: f64) -> f64 {
    let [a, b, c, d, e, f] = coefficients;
    (((((a * zz) + b) * zz + c) * zz + d) * zz + e) * zz + f
}

fn sine_of(z: f64) -> f64 {
    let zz = z * z;
    z + z * zz * polynomial(&SIN, zz)
}

fn cosine_of(z: f64) -> f64 {
    let zz = z * z;
    1.0 - 0.5 * zz + zz * zz * polynomial(&COS, zz)
}

/// `math.Sin`
#[must_use]
pub fn sin(x: f64) -> f64 {
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (j, z) = reduce(x.abs());
    let y = if j & 3 == 1 || j & 3 == 2 { cosine_of(z) } else { sine_of(z) };
    if (x < 0.0) != (j > 3) { -y } else { y }
}

/// `math.Cos`
#[must_use]
pub fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let (j, z) = reduce(x.abs());
    let y = if j & 3 == 1 || j & 3 == 2 { sine_of(z) } else { cosine_of(z) };
    if (j > 3) != (j & 3 > 1) { -y } else { y }
}

/// `math.Tan`
#[must_use]
pub fn tan(x: f64) -> f64 {
    const P: [f64; 3] =
        [-1.309_369_391_813_837_776_46e4, 1.153_516_648_385_874_161_40e6, -1.795_652_519_764_848_779_88e7];
    const Q: [f64; 4] = [
        1.368_129_634_706_929_546_78e4,
        -1.320_892_344_402_109_674_47e6,
        2.500_838_018_233_579_158_39e7,
        -5.386_957_559_294_546_298_81e7,
    ];
    if x == 0.0 || x.is_nan() {
        return x;
    }
    if x.is_infinite() {
        return f64::NAN;
    }
    let (j, z) = reduce(x.abs());
    let zz = z * z;
    let mut y = z;
    if zz > 1e-14 {
        let above = zz * (((P[0] * zz) + P[1]) * zz + P[2]);
        y = z + z * (above / ((((zz + Q[0]) * zz + Q[1]) * zz + Q[2]) * zz + Q[3]));
    }
    if j & 2 == 2 {
        y = -1.0 / y;
    }
    if x < 0.0 { -y } else { y }
}

/// Arc tangent of a number from 0 to 0.66.
fn atan_small(x: f64) -> f64 {
    const P: [f64; 5] = [
        -8.750_608_600_031_904_122_785e-01,
        -1.615_753_718_733_365_076_637e+01,
        -7.500_855_792_314_704_667_340e+01,
        -1.228_866_684_490_136_173_410e+02,
        -6.485_021_904_942_025_371_773e+01,
    ];
    const Q: [f64; 5] = [
        2.485_846_490_142_306_297_962e+01,
        1.650_270_098_316_988_542_046e+02,
        4.328_810_604_912_902_668_951e+02,
        4.853_903_996_359_136_964_868e+02,
        1.945_506_571_482_613_964_425e+02,
    ];
    let z = x * x;
    let above = z * ((((P[0] * z + P[1]) * z + P[2]) * z + P[3]) * z + P[4]);
    let z = above / (((((z + Q[0]) * z + Q[1]) * z + Q[2]) * z + Q[3]) * z + Q[4]);
    x * z + x
}

/// Arc tangent of a positive number.
fn atan_positive(x: f64) -> f64 {
    /// What pi/2 has beyond a double.
    const MORE: f64 = 6.123_233_995_736_765_886_130e-17;
    /// tan(3 pi / 8)
    const TAN: f64 = 2.414_213_562_373_095_048_80;
    if x <= 0.66 {
        return atan_small(x);
    }
    if x > TAN {
        return FRAC_PI_2 - atan_small(1.0 / x) + MORE;
    }
    FRAC_PI_4 + atan_small((x - 1.0) / (x + 1.0)) + 0.5 * MORE
}

/// `math.Atan`
#[must_use]
pub fn atan(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    if x > 0.0 { atan_positive(x) } else { -atan_positive(-x) }
}

/// `math.Asin`
#[must_use]
pub fn asin(x: f64) -> f64 {
    if x == 0.0 {
        return x;
    }
    let z = if x < 0.0 { -x } else { x };
    if z > 1.0 {
        return f64::NAN;
    }
    let root = (1.0 - z * z).sqrt();
    let y = if z > 0.7 { FRAC_PI_2 - atan_positive(root / z) } else { atan_positive(z / root) };
    if x < 0.0 { -y } else { y }
}

/// `math.Acos`
#[must_use]
pub fn acos(x: f64) -> f64 {
    FRAC_PI_2 - asin(x)
}

/// `math.Atan2`
#[must_use]
pub fn atan2(y: f64, x: f64) -> f64 {
    if y == 0.0 || x == 0.0 || !y.is_finite() || !x.is_finite() {
        // IEEE's special cases, which both languages follow.
        return y.atan2(x);
    }
    let q = atan(y / x);
    if x < 0.0 {
        return if q <= 0.0 { q + PI } else { q - PI };
    }
    q
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a over the bits of a function of 200,000 numbers of all sizes, as a Go program of ours printed it
    /// (Go 1.26, amd64): xorshift64 from 88172645463325252, every third number as bits of a double, the others
    /// spread over (-8, 8) and (-1000, 1000).
    fn digest(f: impl Fn(f64, f64) -> f64) -> u64 {
        let (mut state, mut hash) = (88_172_645_463_325_252_u64, 0xcbf2_9ce4_8422_2325_u64);
        let mut number = |i: u32| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match i % 3 {
                0 => f64::from_bits(state),
                1 => ((state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5) * 16.0,
                _ => ((state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5) * 2000.0,
            }
        };
        for i in 0..200_000 {
            let (x, y) = (number(i), number(i / 3));
            let v = f(x, y);
            let bits = if v.is_nan() { 1 } else { v.to_bits() };
            for byte in bits.to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
        hash
    }

    #[test]
    fn bits_of_go() {
        let one = |f: fn(f64) -> f64| digest(|x, _| f(x));
        let all = [
            ("exp", one(exp)),
            ("exp2", one(exp2)),
            ("ln", one(ln)),
            ("log2", one(log2)),
            ("log10", one(log10)),
            ("ln_1p", one(ln_1p)),
            ("sin", one(sin)),
            ("cos", one(cos)),
            ("tan", one(tan)),
            ("asin", one(asin)),
            ("acos", one(acos)),
            ("atan", one(atan)),
            ("sinh", one(sinh)),
            ("cosh", one(cosh)),
            ("tanh", one(tanh)),
            ("asinh", one(asinh)),
            ("acosh", one(acosh)),
            ("atanh", one(atanh)),
            ("pow", digest(pow)),
            ("atan2", digest(atan2)),
        ];
        for ((name, got), want) in all.into_iter().zip(WANTED) {
            assert_eq!(got, want, "{name}");
        }
    }

    const WANTED: [u64; 20] = [
        0x9414230e8c3c2144,
        0xc9d81c8527b1129c,
        0x8a44a1e1886e314d,
        0xbf90063b4fcfc369,
        0xdbbd58df7f2eaaf1,
        0x49139dcb256546ba,
        0xad08f866bc5059f7,
        0xd91710323d41d3cc,
        0x026905acfd2c3ec8,
        0x69a1cddd001b7a37,
        0xb2b1afdfc2755402,
        0x2757d55329cff958,
        0xa9079662ec33916a,
        0x3830b1f576bddd93,
        0xe06e9bba72f4cc77,
        0xa26749e6757fe897,
        0xaff2a085d3dd266c,
        0x88b99be6eb0b6c5a,
        0x68acfa16e668d2f4,
        0x1766f844b3012028,
    ];
}
