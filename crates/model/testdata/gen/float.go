// Writes what Go's strconv prints and reads, as ../float_print.txt and ../float_parse.txt.
//
// Run: go run float.go ..
//
// float_print.txt: bits in hexadecimal, 'f' -1, 'g' -1, 'e' -1, 'g' 4, 'g' 17, 'e' 3, 'f' 2, separated by tabs.
// float_parse.txt: JSON string, tab, bits and error ("-" for none), separated by a tab.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func main() {
	r := rand.New(rand.NewSource(1))
	values := []float64{0, math.Copysign(0, -1), 1, -1, 0.1, 0.5, 1.5, 2.5, 99999, 999999, 1000000, 1e6 + 1, 123456789, 1e15, 1e20, 1e21, 1e22, 1e23, 1e-4, 1e-5, 0.00012345,
		math.MaxFloat64, math.SmallestNonzeroFloat64, 2.2250738585072014e-308, 2.225073858507201e-308, 1 << 53, 1<<53 - 1, 1<<53 + 2, 4503599627370496.5, 9007199254740993, math.Inf(1), math.Inf(-1), math.NaN(),
		0.3, 2.0 / 3, 1e100, 5e-324, 1.7976931348623155e308, 100, 1000, 10000, 0.25, 1024, 9999.5, 99995, 0.99995, 0.000099995, 12345, 123450}
	for i := 0; i < 250; i++ {
		values = append(values, math.Float64frombits(r.Uint64()))
		values = append(values, math.Trunc(r.NormFloat64()*math.Pow(10, float64(r.Intn(19)))))
		values = append(values, math.Round(r.NormFloat64()*1e6)/math.Pow(10, float64(r.Intn(9))))
	}
	out, _ := os.Create(filepath.Join(os.Args[1], "float_print.txt"))
	w := bufio.NewWriter(out)
	for _, v := range values {
		f := func(c byte, p int) string { return strconv.FormatFloat(v, c, p, 64) }
		fmt.Fprintf(w, "%x\t%s\n", math.Float64bits(v), strings.Join([]string{f('f', -1), f('g', -1), f('e', -1), f('g', 4), f('g', 17), f('e', 3), f('f', 2)}, "\t"))
	}
	w.Flush()

	texts := []string{"", "0", "-0", "+0", "1", "+1", "-1", "1.", ".1", ".", "-.", "1.5", "1e5", "1E5", "1e+5", "1e-5", "1e", "1e+", "e5", ".e5", "1.e5", "1..2", "1.2.3", "--1", "+-1", " 1", "1 ", "1a", "a",
		"Inf", "inf", "INF", "+Inf", "-Inf", "infinity", "Infinity", "+infinity", "-INFINITY", "infin", "infinit", "in", "Infx", "nan", "NaN", "NAN", "+NaN", "-NaN", "nanx", "na",
		"0x", "0x1", "0x1p", "0x1p0", "0x1P0", "0X1p0", "0x1p+1", "0x1p-1", "0x.8p0", "0x1.8p1", "0x1.8", "0x.p0", "0xp0", "0xgp0", "0x1pa", "-0x1p-2", "+0x1p1", "0x1.fffffffffffff8p0", "0x1.fffffffffffff7p0", "0x1.fffffffffffffcp1023",
		"0x1p1023", "0x1p1024", "-0x1p1024", "0x1p-1074", "0x1p-1075", "0x1.8p-1075", "0x1.00000000000001p-1075", "0x0.8p-1074", "0x1p-1076", "0x1p-99999999999", "0x1p99999999999", "0x0p99999999999", "0x1.0000000000000080000000000000p0", "0x1.00000000000000800000000000001p0", "0x1.00000000000001800000000000000p0", "0x123456789abcdef0123456789p-10", "0x0000000000000000000000000000001p0", "0x0.00000000000000000000000000001p0", "0x1fffffffffffff.8p0", "0x3p-1075", "0x7p-1076", "0x1.fffffffffffffp-1023", "0x0.fffffffffffff8p-1022", "0x0.fffffffffffff7p-1022",
		"1_000", "1_0.5", "1_.5", "1._5", "_1", "1_", "1__0", "0x_1p0", "0_x1p0", "0x1_0p0", "0x1_p0", "0x1p_1", "0x1p1_0", "0x_p0", "1e1_0", "1e_10", "1_e10", "0b1", "0o7", "0b_1", "0_1", "1_2_3.4_5e0_6", "0x1.8_8p0", "0x1._8p0",
		"1e308", "1e309", "-1e309", "1e-400", "1e99999999999999999999", "1e-99999999999999999999", "0e99999999999999999999", "1.7976931348623157e308", "1.7976931348623159e308", "1.797693134862315808e308", "4.9e-324", "2.4e-324", "2.5e-324", "2.2250738585072011e-308",
		"123456789012345678901234567890", "0.000000000000000000000000000000000001", "9007199254740993", "9007199254740992.99999999", "1" + strings.Repeat("0", 400), "0." + strings.Repeat("0", 400) + "1", strings.Repeat("9", 400) + "e-390", "1.00000000000000011102230246251565404236316680908203125", "1.00000000000000011102230246251565404236316680908203124", "1.00000000000000011102230246251565404236316680908203126",
		"٣", "１", "1e5\n", "\x00", "0x1p0x", "1,5", "1f", "1d", "0.0", "00", "007", "1e0005", "0x0p0", "-0x0p0", "1e+-5", "infinity0", "+", "-"}
	alphabet := "0123456789.eE+-_xXpPabfinINF"
	for i := 0; i < 1500; i++ {
		var b strings.Builder
		for n := r.Intn(9) + 1; n > 0; n-- {
			b.WriteByte(alphabet[r.Intn(len(alphabet))])
		}
		texts = append(texts, b.String())
	}
	for i := 0; i < 300; i++ {
		texts = append(texts, fmt.Sprintf("%x", math.Float64frombits(r.Uint64())), fmt.Sprintf("0x%x.%xp%d", r.Uint64()>>uint(r.Intn(64)), r.Uint64(), r.Intn(2400)-1200), fmt.Sprintf("%d.%de%d", r.Uint64(), r.Uint64(), r.Intn(660)-340))
	}
	out, _ = os.Create(filepath.Join(os.Args[1], "float_parse.txt"))
	w = bufio.NewWriter(out)
	for _, t := range texts {
		v, err := strconv.ParseFloat(t, 64)
		cause := "-"
		if e, ok := err.(*strconv.NumError); ok {
			cause = e.Err.Error()
		}
		b, _ := json.Marshal(t)
		fmt.Fprintf(w, "%s\t%x\t%s\n", b, math.Float64bits(v), cause)
	}
	w.Flush()
}
