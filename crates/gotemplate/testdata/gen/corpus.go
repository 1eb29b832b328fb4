// Writes what Prometheus's template package (on Go's text/template) makes of templates, as ../corpus.jsonl.
//
// Run in a module that requires github.com/prometheus/prometheus v0.315.0: go run corpus.go > ../corpus.jsonl
//
// A line a case: "t" the template, "d" which data (see data below), then "o" the output or "e" the error.
// The name of the template is "test", the time 1353755652, the external URL http://testhost:9090/path/prefix.
// A template with a pointer's address in its output must not be here.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/template"
)

const defs = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}"

func hist() *histogram.FloatHistogram {
	return &histogram.FloatHistogram{
		Count: 3, Sum: 10, ZeroThreshold: 0.001, ZeroCount: 1,
		PositiveSpans:   []histogram.Span{{Offset: 0, Length: 2}},
		PositiveBuckets: []float64{1, 1},
	}
}

func data(kind string) any {
	alert := func(s promql.Sample) any {
		return template.AlertTemplateData(
			map[string]string{"alertname": "A", "instance": "foo.example.com:9100", "job": "node <1>", "n": "12.5", "empty": ""},
			map[string]string{"region": "eu", "zone": "1"}, "http://testhost:9090/path/prefix", s)
	}
	switch kind {
	case "alert":
		return alert(promql.Sample{F: 1234567.891})
	case "hist":
		return alert(promql.Sample{H: hist()})
	case "floats":
		return []float64{0, 1, -1, 1234567, .12, 999.95, 1e-9, 1e30, 60, 3600, 86400, 90000, -183845, 899.99, .0001, 12.345, 1.2345, 1048576, 1e300, math.Inf(1), math.Inf(-1), math.NaN()}
	case "small":
		return []float64{0, 1, -1, 0.5, -0.25, 1435065584.128, 1e9, 9e9, 1e-7, math.Inf(1), math.NaN()}
	case "ints":
		return []int64{0, -1, 1, 1234567, math.MaxInt64, math.MinInt64}
	case "uints":
		return []uint64{0, 1, 1234567, math.MaxUint64}
	case "strings":
		return []string{"0", "1", "-1.5", "1e3", "0x10", "60.5", "+Inf", "NaN", ".12", "1_0"}
	}
	return nil
}

func query(_ context.Context, q string, _ time.Time) (promql.Vector, error) {
	up := func(instance string, f float64) promql.Sample {
		return promql.Sample{F: f, Metric: labels.FromStrings("__name__", "up", "instance", instance, "__value__", "v"+instance)}
	}
	switch q {
	case "up":
		return promql.Vector{up("b", 21), up("a", 11), up("c", 1e6)}, nil
	case "one":
		return promql.Vector{{F: 1.5}}, nil
	case "hist":
		return promql.Vector{{H: hist(), Metric: labels.FromStrings("a", "b")}}, nil
	case "fail":
		return nil, errors.New("query failed")
	}
	return promql.Vector{}, nil
}

func main() {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	ext, _ := url.Parse("http://testhost:9090/path/prefix")
	emit := func(kind, text string) {
		whole := text
		if kind == "alert" || kind == "hist" {
			whole = defs + text
		}
		result, err := template.NewTemplateExpander(context.Background(), whole, "test", data(kind), model.Time(1353755652000), query, ext, nil).Expand()
		row := map[string]string{"t": text, "d": kind}
		if err != nil {
			row["e"] = err.Error()
		} else {
			row["o"] = result
		}
		if e := out.Encode(row); e != nil {
			panic(e)
		}
	}
	for _, t := range alertCases {
		emit("alert", t)
	}
	for _, t := range []string{
		"{{$value}}", "{{.Value}}", "{{$value | humanize}}", "{{printf \"%v\" $value}}", "{{printf \"%s\" $value}}", "{{$value.Count}}", "{{$value.Sum}}",
		"{{.Value.Sum}}", "{{if $value}}yes{{end}}", "{{$value.Foo}}", "{{.Value.Foo}}", "{{eq $value nil}}", "{{printf \"%T\" $value}}", "{{$value.ZeroCount}}", "{{$value.String}}",
		"{{$value.Schema}}", "{{lt $value 1.0}}", "{{eq $value 1.0}}",
	} {
		emit("hist", t)
	}
	for _, t := range nilCases {
		emit("nil", t)
	}
	for _, kind := range []string{"floats", "small", "ints", "uints", "strings"} {
		for _, f := range []string{"humanize", "humanize1024", "humanizeDuration", "humanizePercentage", "print", "printf \"%v\"", "html"} {
			emit(kind, "{{range .}}{{"+f+" .}}:{{end}}")
		}
		emit(kind, "{{range $i, $x := .}}{{$i}}={{$x}} {{end}}")
		emit(kind, "{{len .}} {{index . 0}} {{.}}")
		emit(kind, "{{printf \"%v %d\" . .}}")
		emit(kind, "{{printf \"%T\" .}}")
		emit(kind, "{{slice . 1 3}}")
	}
	for _, kind := range []string{"small", "ints", "uints", "strings"} {
		emit(kind, "{{range .}}{{humanizeTimestamp .}}:{{end}}")
		emit(kind, "{{range slice . 0 3}}{{humanizeTimestamp .}}:{{toTime .}}:{{end}}")
		emit(kind, "{{range slice . 0 4}}{{toDuration .}}:{{end}}")
	}
	values := []string{
		"1", "-42", "0", "1234567", "1.5", "-0.00012", "1e6", "1e21", "123456789.0", "\"hello\"", "\"\"", "\"h\\\"é\\n☺\"",
		"true", "nil", "'a'", "(args 1 \"x\")", "$labels.missing", "(query \"none\")", "$externalLabels", "1.0", "100000.0", "(1800 | toDuration)", "(now | toTime)", "(safeHtml \"<b>\")", "(index \"abc\" 1)", "2+3i",
	}
	verbs := []string{
		"%v", "%+v", "%d", "%5d", "%-5d|", "%05d", "%+d", "% d", "%x", "%X", "%#x", "%o", "%#o", "%O", "%b", "%c", "%U", "%#U", "%q", "%#q", "%s", "%10s", "%-10s|", "%.2s",
		"%f", "%.2f", "%8.3f", "%-8.1f|", "%08.2f", "%+.1f", "%g", "%.4g", "%.3e", "%e", "%E", "%G", "%t", "%T", "%p%%", "%#v", "%010s", "%6t", "% x", "%x|%[1]v", "%!", "%z", "%F", "%.0f", "%#g", "%.10g", "%5.1q", "%6v", "%06v", "%w",
	}
	for _, v := range values {
		for _, verb := range verbs {
			if verb == "%p%%" && (v[0] == '(' || v[0] == '$') || verb[0] == '%' && verb != "%v" && verb != "%s" && verb != "%T" && verb != "%q" && (v == "(1800 | toDuration)" || v == "(now | toTime)") {
				continue // an address
			}
			emit("alert", "{{printf \""+verb+"\" "+v+"}}")
		}
	}
	for _, f := range []string{
		"humanize", "humanize1024", "humanizeDuration", "humanizePercentage", "humanizeTimestamp", "title", "toUpper", "toLower", "stripPort", "stripDomain", "parseDuration", "urlQueryEscape",
		"urlquery", "html", "js", "len", "not", "print", "println", "graphLink", "tableLink", "first", "value", "strvalue", "toTime", "toDuration", "safeHtml", "query", "index", "slice", "eq", "and", "or", "call", "match \"a\"", "label \"x\"", "sortByLabel \"x\"", "reReplaceAll \"l+\" \"<$0>\"", "lt 1", "gt 1.5", "eq 1", "eq \"hello\"", "ne 1.5",
	} {
		for _, v := range values {
			emit("alert", "{{"+f+" "+v+"}}")
		}
		emit("alert", "{{"+f+"}}")
		emit("alert", "{{\"hello world\" | "+f+"}}")
	}
	for _, s := range titles {
		for _, f := range []string{"title", "toUpper", "toLower", "stripPort", "stripDomain", "urlQueryEscape", "js", "html", "parseDuration", "humanize", "toTime"} {
			emit("nil", fmt.Sprintf("{{%s %q}}", f, s))
		}
	}
	for _, l := range []string{
		"2006-01-02 15:04:05", "Mon Jan 2 15:04:05 2006", "Monday, 02-Jan-06 15:04:05 MST", "2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05.000Z0700", "03:04PM", "3:4:5 pm", "Jan _2 06 .000 .999", "002 __2", "January 1", "-07 -0700 -07:00", "5.00 05,000 05.999", "x2y", "Janx", "Z07", "15h 4m",
	} {
		emit("nil", fmt.Sprintf("{{(now | toTime).Format %q}}", l))
		emit("nil", fmt.Sprintf("{{(1435065584.128 | toTime).Format %q}}", l))
	}
	for _, m := range []string{
		"Unix", "UnixMilli", "UnixNano", "UnixMicro", "Year", "Month", "Day", "Hour", "Minute", "Second", "Nanosecond", "YearDay", "Weekday", "String", "UTC", "IsZero", "Foo",
	} {
		emit("nil", "{{(1435065584.128 | toTime)."+m+"}}")
	}
	for _, m := range []string{"Seconds", "Minutes", "Hours", "Milliseconds", "Microseconds", "Nanoseconds", "String", "Abs", "Foo"} {
		emit("nil", "{{(5400.5 | toDuration)."+m+"}}")
	}
	for _, d := range []string{"0", "1", "0.5", "0.0005", "0.0000005", "1e-9", "90", "3600", "-5400.25", "100000", "1e9"} {
		emit("nil", "{{toDuration "+d+"}}")
	}
}
