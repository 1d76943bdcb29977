//! The standard normal distribution.

// Numerators and denominators of the algorithm, from the highest power: in the middle, towards the ends, at the ends.
const A: [f64; 8] = [
    2_509.080_928_730_122_6,
    33_430.575_583_588_13,
    67_265.770_927_008_7,
    45_921.953_931_549_87,
    13_731.693_765_509_46,
    1_971.590_950_306_551_3,
    133.141_667_891_784_38,
    3.387_132_872_796_366_5,
];
const B: [f64; 8] = [
    5_226.495_278_852_854,
    28_729.085_735_721_943,
    39_307.895_800_092_71,
    21_213.794_301_586_597,
    5_394.196_021_424_751,
    687.187_007_492_057_9,
    42.313_330_701_600_91,
    1.0,
];
const C: [f64; 8] = [
    7.745_450_142_783_414e-4,
    2.272_384_498_926_918_4e-2,
    2.417_807_251_774_506e-1,
    1.270_458_252_452_368_4,
    3.647_848_324_763_204_5,
    5.769_497_221_460_691,
    4.630_337_846_156_546,
    1.423_437_110_749_683_5,
];
const D: [f64; 8] = [
    1.050_750_071_644_416_9e-9,
    5.475_938_084_995_345e-4,
    1.519_866_656_361_645_7e-2,
    1.481_039_764_274_800_8e-1,
    6.897_673_349_851e-1,
    1.676_384_830_183_803_8,
    2.053_191_626_637_759,
    1.0,
];
const E: [f64; 8] = [
    2.010_334_399_292_288_1e-7,
    2.711_555_568_743_487_6e-5,
    1.242_660_947_388_078_4e-3,
    2.653_218_952_657_612_4e-2,
    2.965_605_718_285_048_7e-1,
    1.784_826_539_917_291_3,
    5.463_784_911_164_114,
    6.657_904_643_501_103,
];
const F: [f64; 8] = [
    2.044_263_103_389_939_8e-15,
    1.421_511_758_316_446e-7,
    1.846_318_317_510_054_7e-5,
    7.868_691_311_456_133e-4,
    1.487_536_129_085_061_5e-2,
    1.369_298_809_227_358e-1,
    5.998_322_065_558_88e-1,
    1.0,
];

/// The value below which a share `p` of a standard normal distribution lies; `p` above 0 and below 1.
///
/// Wichura's algorithm AS 241 (PPND16), Applied Statistics 37 (1988), exact to about 1e-16.
pub(super) fn quantile(p: f64) -> f64 {
    let ratio = |above: &[f64; 8], below: &[f64; 8], x: f64| {
        let polynomial =
            |coefficients: &[f64; 8]| coefficients.iter().fold(0.0, |sum, coefficient| sum * x + coefficient);
        polynomial(above) / polynomial(below)
    };
    let off = p - 0.5;
    if off.abs() <= 0.425 {
        return off * ratio(&A, &B, 0.180_625 - off * off);
    }
    let far = (-libm::log(if off < 0.0 { p } else { 1.0 - p })).sqrt();
    let value = if far <= 5.0 { ratio(&C, &D, far - 1.6) } else { ratio(&E, &F, far - 5.0) };
    value.copysign(off)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        let known = [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.99, 2.326_347_874_040_841),
            (0.0001, -3.719_016_485_455_709),
            (1e-12, -7.034_483_825_301_131),
        ];
        for (p, wanted) in known {
            assert!((quantile(p) - wanted).abs() < 1e-12, "{p}: {}", quantile(p));
        }
    }
}
