// Writes ../relabel.jsonl: relabel rules and label sets, and what upstream's own package makes of them.
//
// Run, in a module that requires github.com/prometheus/prometheus: go run relabel.go ..
//
// Each line: {"rules": [fields as in the YAML], "scheme", "error"} where a rule is refused, or with "in" and "out"
// (null where the label set is dropped).
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/relabel"
	"go.yaml.in/yaml/v2"
)

var r = rand.New(rand.NewSource(1))

func pick(s ...string) string { return s[r.Intn(len(s))] }

func rule() map[string]any {
	m := map[string]any{}
	names := []string{"a", "b", "c", "job", "__address__", "__meta_x", "missing", "é"}
	if r.Intn(5) > 0 {
		var s []string
		for n := r.Intn(3) + 1; n > 0; n-- {
			s = append(s, names[r.Intn(len(names))])
		}
		m["source_labels"] = s
	}
	action := pick("replace", "replace", "replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep", "lowercase", "uppercase", "keepequal", "dropequal", "", "Replace", "nonsense")
	if action != "" {
		m["action"] = action
	}
	bare := action == "keepequal" || action == "dropequal" || action == "labeldrop" || action == "labelkeep"
	if r.Intn(3) > 0 && !(bare && r.Intn(4) > 0) || strings.HasPrefix(action, "label") {
		m["regex"] = pick("", ".*", "(.*)", "(.+)", "foo|bar", "(f)(o*)", "(?P<x>[a-z]+)-(.*)", "__meta_(.+)", "a|b|c", "[ab]", "(.*):(.*)", "node-\\d+", "(?i)FOO.*", "x)|(y", "(", "a**", ".*;.*", "(.*);(.*)", "^a$", "é", "b*", "(b*)")
	}
	if r.Intn(4) > 0 {
		m["target_label"] = pick("a", "b", "new", "$1", "${1}", "x_$1", "${1}_y", "$x", "${x}z", "1a", "a-b", "a.b", "é", "", "$", "${", "$1$2", "x$", "a${1", "$$", "${1}-x")
	}
	if r.Intn(3) > 0 && !(bare && r.Intn(4) > 0) {
		m["replacement"] = pick("", "$1", "${1}", "x", "$2-$1", "${x}", "$1x", "$$", "a$", "label_$1", "${1}_x", "é", "$0", "a b", "$1$1")
	}
	if r.Intn(5) == 0 {
		m["separator"] = pick("", ";", ",", "--")
	}
	if action == "hashmod" && r.Intn(5) > 0 || r.Intn(12) == 0 {
		m["modulus"] = []uint64{0, 1, 2, 8, 100, 1 << 63, 18446744073709551615}[r.Intn(7)]
	}
	return m
}

func set() map[string]string {
	m := map[string]string{}
	for _, n := range []string{"a", "b", "c", "job", "__address__", "__meta_x", "__meta_y", "é", "a.b"} {
		if r.Intn(3) > 0 {
			m[n] = pick("foo", "bar", "foobar", "foo-bar", "FOO", "node-12", "10.0.0.1:9100", "a:b", "É", "ß", "İΣ", "a\nb", "f", "x", "y", "é")
		}
	}
	return m
}

func main() {
	out, _ := os.Create(filepath.Join(os.Args[1], "relabel.jsonl"))
	w := bufio.NewWriter(out)
	defer w.Flush()
	write := func(m map[string]any) {
		b, err := json.Marshal(m)
		if err != nil {
			panic(err)
		}
		w.Write(append(b, '\n'))
	}
	good, refused := 0, map[string]int{}
	for good < 800 {
		scheme := model.UTF8Validation
		if r.Intn(2) == 0 {
			scheme = model.LegacyValidation
		}
		var rules []map[string]any
		var cfgs []*relabel.Config
		var failed error
		for n := r.Intn(3) + 1; n > 0; n-- {
			m := rule()
			y, _ := yaml.Marshal(m)
			cfg := &relabel.Config{}
			err := yaml.Unmarshal(y, cfg)
			if err == nil {
				err = cfg.Validate(scheme)
			}
			rules = append(rules, m)
			if err != nil {
				failed = err
				break
			}
			cfgs = append(cfgs, cfg)
		}
		if failed != nil {
			text := failed.Error()
			if refused[text]++; refused[text] <= 3 {
				write(map[string]any{"rules": rules, "scheme": scheme.String(), "error": text})
			}
			continue
		}
		for n := 0; n < 2; n++ {
			in := set()
			lb := labels.NewBuilder(labels.FromMap(in))
			var res any
			if relabel.ProcessBuilder(lb, cfgs...) {
				res = lb.Labels().Map()
			}
			write(map[string]any{"rules": rules, "scheme": scheme.String(), "in": in, "out": res})
			good++
		}
	}
	fmt.Println(good, len(refused))
}
