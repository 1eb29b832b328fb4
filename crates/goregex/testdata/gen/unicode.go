// Writes ../../src/unicode.bin: Go's Unicode tables (categories, scripts, aliases, case folding, case
// mapping) in the compact form that src/unicode.rs reads.
//
// Run: go run unicode.go > ../../src/unicode.bin
package main

import (
	"bufio"
	"os"
	"sort"
	"strings"
	"unicode"
)

var out = bufio.NewWriter(os.Stdout)

func varint(n int) {
	for n >= 0x80 {
		out.WriteByte(byte(n) | 0x80)
		n >>= 7
	}
	out.WriteByte(byte(n))
}

func signed(n int) {
	if n < 0 {
		varint(-n*2 - 1)
	} else {
		varint(n * 2)
	}
}

func text(s string) {
	varint(len(s))
	out.WriteString(s)
}

// ranges lists a table as lo, hi pairs, neighbours merged.
func ranges(t *unicode.RangeTable) (r []int) {
	add := func(lo, hi int) {
		if n := len(r); n > 0 && r[n-1]+1 >= lo {
			r[n-1] = hi
			return
		}
		r = append(r, lo, hi)
	}
	each := func(lo, hi, stride int) {
		if stride == 1 {
			add(lo, hi)
			return
		}
		for c := lo; c <= hi; c += stride {
			add(c, c)
		}
	}
	for _, x := range t.R16 {
		each(int(x.Lo), int(x.Hi), int(x.Stride))
	}
	for _, x := range t.R32 {
		each(int(x.Lo), int(x.Hi), int(x.Stride))
	}
	return r
}

func tables(m map[string]*unicode.RangeTable) {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	sort.Strings(names)
	varint(len(names))
	for _, name := range names {
		r := ranges(m[name])
		text(name)
		varint(len(r) / 2)
		next := 0
		for i := 0; i < len(r); i += 2 {
			varint(r[i] - next)
			varint(r[i+1] - r[i])
			next = r[i+1] + 1
		}
	}
}

// canonical: first letter upper case, the others lower case, without spaces, hyphens and underscores.
func canonical(name string) string {
	s := strings.ToLower(strings.NewReplacer("_", "", "-", "", " ", "").Replace(name))
	return strings.ToUpper(s[:1]) + s[1:]
}

func main() {
	defer out.Flush()
	tables(unicode.Categories)
	tables(unicode.Scripts)

	aliases := map[string]string{}
	var names []string
	for name, actual := range unicode.CategoryAliases {
		if aliases[canonical(name)] == "" {
			names = append(names, canonical(name))
		}
		aliases[canonical(name)] = actual
	}
	sort.Strings(names)
	varint(len(names))
	for _, name := range names {
		text(name)
		text(aliases[name])
	}

	// Folding: each character that has others equal to it, and the next one of its ring.
	var folds []rune
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if unicode.SimpleFold(c) != c {
			folds = append(folds, c)
		}
	}
	varint(len(folds))
	last := 0
	for _, c := range folds {
		varint(int(c) - last)
		signed(int(unicode.SimpleFold(c)) - int(c))
		last = int(c)
	}

	// Case: characters that change, with the distance to upper and to lower case.
	var cased []rune
	for c := rune(0); c <= unicode.MaxRune; c++ {
		if unicode.ToUpper(c) != c || unicode.ToLower(c) != c {
			cased = append(cased, c)
		}
	}
	varint(len(cased))
	last = 0
	for _, c := range cased {
		varint(int(c) - last)
		signed(int(unicode.ToUpper(c)) - int(c))
		signed(int(unicode.ToLower(c)) - int(c))
		last = int(c)
	}
}
