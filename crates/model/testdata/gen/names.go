// Writes ../names.txt: a name, then its escapes and its "unescapes" by the schemes underscores, dots and
// values, as JSON strings separated by tabs; and ../print.txt: ranges of characters that strconv.Quote
// leaves as they are.
//
// Run, in a module that requires github.com/prometheus/common: go run names.go ..
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/common/model"
)

func main() {
	names := []string{"a", "_", "__", "a_b", "a.b", "a..b", "a:b", "1a", "a1", ".", "a b", "é", "aé", "日本", "😀", "\u0000", "a\nb", "http.status_code", "U__", "U__a", "U__a_2e_b", "U__a__b", "U__a_", "U__a_2e", "U___2e_", "U__a_zz_b", "U__a_d800_b", "U__a_110000_b", "U__a_10ffff_b", "U__a_fffff_b", "U__a_1F600_b", "U__a_1f600_b", "U___", "U____", "U__é_e9_", "a_dot_b", "a__dot__b", "_dot_", "_dot", "a___dot_b", "__a", "a__", "U__a_000002e_", "U__a_00002e_", "U__a_0002e_", "U__a_+2e_b", "U__a_-2e_b", "\U00100000", "\U0010ffff"}
	r := rand.New(rand.NewSource(1))
	parts := []string{"a", "_", ".", ":", "1", "U__", "_dot_", "2e", "é", "😀", "-", "F", "10ffff"}
	for i := 0; i < 400; i++ {
		var b strings.Builder
		for n := r.Intn(8) + 1; n > 0; n-- {
			b.WriteString(parts[r.Intn(len(parts))])
		}
		names = append(names, b.String())
	}
	q := func(s string) string { b, _ := json.Marshal(s); return string(b) }
	out, _ := os.Create(filepath.Join(os.Args[1], "names.txt"))
	w := bufio.NewWriter(out)
	for _, n := range names {
		fmt.Fprint(w, q(n))
		for _, s := range []model.EscapingScheme{model.UnderscoreEscaping, model.DotsEscaping, model.ValueEncodingEscaping} {
			fmt.Fprint(w, "\t", q(model.EscapeName(n, s)), "\t", q(model.UnescapeName(n, s)))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	out, _ = os.Create(filepath.Join(os.Args[1], "print.txt"))
	w = bufio.NewWriter(out)
	from := rune(-1)
	for c := rune(0); c <= unicode.MaxRune+1; c++ {
		plain := utf8.ValidRune(c) && strconv.Quote(string(c)) == "\""+string(c)+"\""
		if plain && from < 0 {
			from = c
		} else if !plain && from >= 0 {
			fmt.Fprintf(w, "%x %x\n", from, c-1)
			from = -1
		}
	}
	w.Flush()
}
