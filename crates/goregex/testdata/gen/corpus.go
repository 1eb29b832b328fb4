// Writes the verdicts of Go's regexp on patterns and texts, as ../corpus.txt and ../submatch.txt.
//
// Run: go run corpus.go ..
//
// corpus.txt: first "I", tab, texts; then a line a pattern: pattern, tab, either "E" and the
// error of the bare pattern, or hexadecimal digits: bit i says whether ^(?s:pattern)$ matches text i.
// submatch.txt: pattern, text, FindStringSubmatchIndex, ReplaceAllString with a
// template, both of the bare pattern. All strings as JSON.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/big"
	"math/rand"
	"os"
	"path/filepath"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
)

var texts = []string{
	"", "a", "b", "c", "A", "ab", "abc", "aab", "aba", "ba", "aa", "aaa", "aaaa", "abab", "foo", "bar", "foobar",
	"FOO", "Foo-bar", "foo.bar", "foo_bar", "foo/bar", "foo bar", "foo\nbar", "\n", "\r\n", "\t", " ", "  ", "0",
	"1", "12", "2024", "10.0.0.1:9100", "node-1", "node-12", "kube-system", "prod-eu-1", "PROD-EU-1", "é", "É",
	"ß", "ẞ", "SS", "ss", "ſ", "K", "k", "K", "İ", "i", "ı", "I", "σ", "ς", "Σ", "λ", "Ω", "Ω", "ω", "中文", "日本",
	"\u0660", "\u00a0", "\u2003", "\u2028", "\ufeff", "😀", "😀😀", "a😀b", "\u0301", "e\u0301", "\x00", "\x7f", "\u0085",
	"-", "_", ".", "*", "+", "?", "(", ")", "[", "]", "{", "}", "|", "^", "$", "\\", "/", "a{2}", "a{,2}", "[a]", "(a)",
	"a|b", "a.b", "a-b", "a_b", "^a$", "$1", "xyzzy", "zzz", "q\"q", "'", "`", "ǆ", "ǅ", "Ǆ", "ꙋ", "ᲈ", "Ა", "ა", "ﬀ",
	"GET /api/v1/query", "abcabcabc", "aXbXc", "word boundary", "x=1,y=2",
}

var fixed = []string{
	"", "a", ".*", ".+", ".", "^a$", "^^a$$", "a|b|c", "(a|b|c)", "(?:foo|bar)", "foo|", "|foo", "a||b", "foo.*", ".*bar",
	".*o.*", ".+o.+", "foo.*bar", ".*-.*", "(.*)", "(?i)foo", "(?i:FOO).*", "(?i)k", "(?i)s+", "(?i)ß", "(?i)σ", "(?i)ǆ",
	"(?i)[a-z]+", "(?i)[^k]", "(?i)\\w+", "(?i)\\W", "(?i)[[:upper:]]+", "(?i)\\p{Lu}", "(?i)\\p{Ll}", "(?i)\\P{Lu}", "(?i)\\p{Greek}",
	"(?i)[^\\p{Lu}]", "(?i)[À-Ö]", "(?i)\\x{3c3}", "(?i)İ", "(?i)ı", "(?i)ꙋ", "(?i)ა", "(?i)ﬀ", "\\d+", "\\D+", "\\s+", "\\S+", "\\w+", "\\W+",
	"[\\d\\s]+", "[^\\d]", "[\\D]", "[^\\D]", "[\\w-]+", "[\\pL\\d]+", "[^\\pL]", "\\pL+", "\\PL+", "\\pN", "\\p{L}", "\\p{^L}", "\\P{^L}",
	"\\p{Greek}+", "\\p{Han}+", "\\p{Hiragana}", "\\p{Latin}+", "\\p{Common}", "\\p{Cc}", "\\p{Zs}", "\\p{Any}", "\\p{Sc}", "\\p{So}", "\\p{Mn}",
	"\\p{IsGreek}", "\\p{Foo}", "\\p", "\\pX", "\\p{", "\\p{}", "\\p{^}", "\\P", "[\\p]", "[\\p{Foo}]", "[\\pZ]", "\\p{L", "[\\p{L",
	"[[:alpha:]]+", "[[:^alpha:]]", "[[:digit:][:space:]]+", "[[:word:]]+", "[[:punct:]]", "[[:foo:]]", "[[:alpha:", "[[:alpha:]", "[:alpha:]",
	"[[:ascii:]]+", "[[:blank:]]", "[[:cntrl:]]", "[[:graph:]]+", "[[:lower:]]+", "[[:upper:]]+", "[[:print:]]+", "[[:space:]]", "[[:xdigit:]]+",
	"[[:alnum:]]+", "[[:^word:]]", "[[:^foo:]]", "[a-z]+", "[z-a]", "[a-a]", "[a-]", "[-a]", "[a-b-c]", "[]a]", "[^]a]", "[]", "[^]", "[", "[^", "[a",
	"[a-", "[a-z", "[\\", "[\\]", "[\\]]", "[\\Qa]", "[\\b]", "[\\a]", "[\\x41-\\x43]+", "[\\101-\\103]+", "[a-\\d]", "[\\d-z]", "[a&&b]", "[a--b]", "[+--]",
	"[^\\x00-\\x{10FFFF}]", "[\\x00-\\x{10FFFF}]", "[\\x{D800}-\\x{DFFF}]", "\\x{D800}", "\\x{DFFF}", "[\\x{D7FF}-\\x{E000}]", "\\x{110000}", "\\x{FFFFFFFFFFFFFFFF}",
	"\\x41", "\\x4", "\\x", "\\xg", "\\x4g", "\\x{41}", "\\x{}", "\\x{", "\\x{4", "\\x{4g}", "\\x{0000000041}", "\\101", "\\07", "\\0", "\\00", "\\000", "\\0101", "\\1", "\\8", "\\9", "\\18", "\\12", "\\777",
	"\\a", "\\f", "\\n", "\\r", "\\t", "\\v", "\\e", "\\c", "\\cA", "\\C", "\\G", "\\K", "\\R", "\\X", "\\Z", "\\z", "\\A", "\\h", "\\H", "\\u0041", "\\U00000041", "\\N", "\\N{U+41}", "\\k<a>", "\\g1", "\\y", "\\l", "\\L", "\\E", "a\\E",
	"\\-", "\\_", "\\<", "\\>", "\\/", "\\:", "\\\"", "\\'", "\\`", "\\ ", "\\#", "\\&", "\\~", "\\!", "\\,", "\\;", "\\=", "\\@", "\\%", "\\é", "\\\n", "\\", "a\\", "\\Q", "\\Qa.b", "\\Qa.b\\E", "\\Qa\\E*", "\\Q\\E*", "a\\Q\\E*", "\\Q\\\\E", "\\Q(\\E", "\\Qa\\E|\\Qb\\E",
	"(", ")", "(a", "a)", "((a)", "(a))", "()", "(|)", "(|a)", "(a|)", "(?:)", "(?:|)", "(?", "(?)", "(?i)", "(?i", "(?i:a", "(?i-s:a.)", "(?-s).", "(?-s:.)", "(?-s).*", "(?-i)a", "(?i-)a", "(?-)a", "(?--i)a", "(?i-i)a", "(?ii)a", "(?s-s).", "(?imsU)a", "(?x)a", "(?u)a", "(?-u)a", "(?R)a", "(?a", "(?#c)", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?>a)", "(?|a)", "(?P", "(?P<", "(?P<n", "(?P<n>", "(?P<n>a)", "(?P<>a)", "(?P<n-m>a)", "(?P<é>a)", "(?P<1>a)", "(?P=n)", "(?P>n)", "(?<n>a)", "(?<n", "(?<", "(?<>a)", "(?'n'a)", "(?P<n>a)(?P<n>b)", "(?i)(?P<n>A)", "(?U)a+", "(?U)a+?", "(?U)(a+)(a*)",
	"*", "+", "?", "*a", "a**", "a*+", "a++", "a+*", "a??", "a*?", "a*??", "a+?+", "a{2}{3}", "a{2}*", "a*{2}", "a?{2}", "(?i)*", "a(?i)*", "a*(?i)*", "(*)", "(+a)", "|*", "a|*", "^*", "$*", "$+", "(^)*", "\\b*", "\\b+", "^{2}", "(?:)*", "()*", "(a*)*", "(a*)+", "(a|b)*", "(a+)+", "((a*)*)*", "(|a)*", "(|a)+", "(a|)*", "(a?)*", "(a{0,2})*",
	"a{2}", "a{0}", "a{0,0}", "a{,2}", "a{2,}", "a{2,1}", "a{1,2}", "a{1000}", "a{1001}", "a{0,1000}", "a{0,1001}", "a{1001,}", "a{99999999999999999999}", "a{1,99999999999999999999}", "a{", "a{1", "a{1,", "a{1,2", "a{}", "a{x}", "a{ 1}", "a{01}", "a{1,02}", "a{1}{", "{", "{1}", "{,1}", "}", "]", "a]", "a}", "x{2}y{3}", "(a{10}){10}", "((a{10}){10}){10}", "(((a{10}){10}){10}){10}", "(a{100}){10}", "(a{100}){11}", "(a{7}){142}", "(a{7}){143}", "(a{0}){1000}", "(a{500,}){2}", "(a{501,}){2}", "(a{1}){1000}", "(a{1,2}){500}", "(a{1,2}){501}", "(a*){1000}",
	"(?m)^a$", "(?m)^foo$\\n^bar$", "(?m)foo$.^bar", "(?m:^)a", "\\Aa\\z", "a$b", "a^b", "^", "$", "^$", "(^|-)a", "a(-|$)", "\\ba\\b", "\\Ba", "a\\B", "foo\\b.bar", "\\b", "\\B", "word\\b.*", ".*\\bb.*", "\\w+\\b \\b\\w+", "😀\\b", "\\bé", "\\B😀\\B",
	"(foo|bar)+", "(a)b.?c", "(f)oo[.-]bar.{0,3}", "x?(fo)o.?b(ar)", "(foo|foobar)", "foo(bar)?", "(foo)?bar", "(a|ab)(c|bcd)(d*)", "a.?b", "a.{1,3}b", ".{3}", ".{0,3}", ".{2,}", "(a|b){2}", "[ab]{2,3}", "node-(1|2|12)", "node-[0-9]+", "(prod|stage)-eu-.+", "(?i)prod-.*", "(?i)prod-eu-[0-9]", ".*\\..*\\..*", "10\\.0\\.0\\.[0-9]{1,3}:9100", "[^:]+:(\\d+)", "(.+):.*", "(?:kube|istio)-(?:system|public)", "(?:.*foo.*|.*bar.*)", ".*foo.*|.*bar.*", ".*(foo|bar).*", "(foo|bar).*", "(foo|bar).+", ".*(?i)foo.*", ".*a.*b.*", ".+a.+", "a.*a", "ab*b", "aa*a", ".*a", "a.*", ".*ab.*ab.*", ".*aba", "aba.*aba", "中.*", ".*文", "中.+", "😀.+", ".+😀", ".+😀.+", "a.+b", "(?s).", "(?-s)a.*b", "foo.bar", "foo\\sbar", "(?s:foo.bar)", "(?-s:foo.bar)", "\\C*", "a\x00b", "\x00", "\x7f", "\u0085",
	"é", "É", "(?i)é", "[é-ü]+", "[^é]", "é*", "日本|中文", "[中日].", "[\\x{4e00}-\\x{9fff}]+", "\\x{1F600}+", "(?i)\\x{212a}", "[\\x{212a}]", "(?i)[\\x{212a}]", "(?i)[a-k]", "(?i)[^a-k]", "(?i)ſ", "(?i)[ſ]", "(?i)Ω", "(?i)SS", "(?i)ss",
}

// q is a JSON string: no tab and no line break remains in it.
func q(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

var atoms = []string{"a", "b", "c", "foo", "bar", "-", "é", "😀", ".", ".*", ".+", "\\d", "\\w", "\\s", "\\W", "[a-c]", "[^a]", "[[:alpha:]]", "\\pL", "\\PN", "\\b", "\\B", "^", "$", "\\A", "\\z", "(?i)", "(?s)", "(?-s)", "(?m)", "(?U)", "\\.", "\\x41", "\\n", "x", "1", "\\Qa.b\\E", "k", "s", "σ"}
var ops = []string{"", "", "", "", "", "", "*", "+", "?", "*?", "+?", "??", "{2}", "{0,2}", "{1,}", "{0}", "{2}?"}

func random(r *rand.Rand, depth int) string {
	var b strings.Builder
	for n := r.Intn(4) + 1; n > 0; n-- {
		switch k := r.Intn(10); {
		case k < 6 || depth == 0:
			b.WriteString(atoms[r.Intn(len(atoms))])
		case k < 8:
			open := []string{"(", "(?:", "(?i:", "(?-s:", "(?P<n>"}[r.Intn(5)]
			b.WriteString(open + random(r, depth-1) + ")")
		default:
			b.WriteString("(" + random(r, depth-1) + "|" + random(r, depth-1) + ")")
		}
		b.WriteString(ops[r.Intn(len(ops))])
	}
	if r.Intn(6) == 0 {
		return b.String() + "|" + random(r, 0)
	}
	return b.String()
}

// damage deletes, doubles or swaps bytes, so that errors are met.
func damage(r *rand.Rand, s string) string {
	c := []rune(s)
	for n := r.Intn(3) + 1; n > 0 && len(c) > 1; n-- {
		i, j := r.Intn(len(c)), r.Intn(len(c))
		switch r.Intn(3) {
		case 0:
			c = append(c[:i], c[i+1:]...)
		case 1:
			c = append(c[:i+1], c[i:]...)
		case 2:
			c[i], c[j] = c[j], c[i]
		}
	}
	return string(c)
}

func main() {
	patterns := append([]string{}, fixed...)
	// Every class, as it is, negated and folded.
	for _, m := range []map[string]*unicode.RangeTable{unicode.Categories, unicode.Scripts} {
		var names []string
		for name := range m {
			names = append(names, name)
		}
		sortStrings(names)
		for _, name := range names {
			if strings.Contains(name, "_") || name == "SignWriting" {
				continue // lost by Go's own package, known to the fork that upstream uses
			}
			patterns = append(patterns, "\\p{"+name+"}", "(?i)\\P{"+name+"}")
		}
	}
	r := rand.New(rand.NewSource(1))
	for i := 0; i < 1500; i++ {
		p := random(r, 2)
		patterns = append(patterns, p)
		if i%4 == 0 {
			patterns = append(patterns, damage(r, p))
		}
	}
	seen := map[string]bool{}
	dir := os.Args[1]
	out, _ := os.Create(filepath.Join(dir, "corpus.txt"))
	w := bufio.NewWriter(out)
	fmt.Fprint(w, "I")
	for _, t := range texts {
		fmt.Fprint(w, "\t", q(t))
	}
	fmt.Fprintln(w)
	sub, _ := os.Create(filepath.Join(dir, "submatch.txt"))
	sw := bufio.NewWriter(sub)
	for i, p := range patterns {
		if seen[p] {
			continue
		}
		seen[p] = true
		parsed, err := syntax.Parse(p, syntax.Perl|syntax.DotNL)
		if err != nil {
			fmt.Fprintf(w, "%s\tE\t%s\n", q(p), q(err.Error()))
			continue
		}
		re := regexp.MustCompile("^(?s:" + parsed.String() + ")$") // as upstream does
		bits := new(big.Int)
		for i, t := range texts {
			if re.MatchString(t) {
				bits.SetBit(bits, i, 1)
			}
		}
		fmt.Fprintf(w, "%s\t%s\n", q(p), bits.Text(16))
		if strings.Contains(p, "\\p{") || i%2 == 1 {
			continue
		}
		plain := regexp.MustCompile(p)
		for n := 0; n < 4; n++ {
			t := texts[r.Intn(len(texts))]
			fmt.Fprintf(sw, "%s\t%s\t%s\t%s\n", q(p), q(t), strings.Trim(fmt.Sprint(plain.FindStringSubmatchIndex(t)), "[]"),
				q(plain.ReplaceAllString(t, "<$0|${1}|$2|$n|$$|$1x>")))
		}
	}
	w.Flush()
	sw.Flush()
}

func sortStrings(s []string) {
	for i := range s {
		for j := i; j > 0 && s[j] < s[j-1]; j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}
