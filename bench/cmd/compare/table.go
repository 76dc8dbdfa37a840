//go:build linux

package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// row is a candidate in one workload, and what its turns measured.
type row struct {
	candidate candidate
	samples   []sample
	failed    int // turns
}

// rowsOf returns the rows of a workload.
func rowsOf(workload string, present []candidate) []row {
	var rows []row
	for _, c := range present {
		if slices.Contains(c.workloads, workload) {
			rows = append(rows, row{candidate: c})
		}
	}
	return rows
}

func (r row) median(f func(sample) float64) float64 { return median(r.values(f)) }

func (r row) values(f func(sample) float64) []float64 {
	x := make([]float64, 0, len(r.samples))
	for _, s := range r.samples {
		x = append(x, f(s))
	}
	return x
}

// median returns the middle of some numbers, or the mean of the two in the middle, and 0 for none.
func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	x = slices.Sorted(slices.Values(x))
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// spread returns half of what lies between the least and the greatest, as a part of the median.
func spread(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	return (slices.Max(x) - slices.Min(x)) / 2 / median(x)
}

// table writes rows as Markdown.
func table(rows []row) string {
	var base float64
	for _, r := range rows {
		if r.candidate.name == baseline {
			base = r.median(sample.perCPU)
		}
	}
	var b strings.Builder
	line := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	line("candidate", "req/s", "req per proxy CPU s", "ratio to "+baseline, "spread", "CPU µs/req", "p50 ms", "p99 ms",
		"resident MiB", "allocs/req", "B/req", "errors")
	line("---", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:", "--:")
	for _, r := range rows {
		line(r.cells(base)...)
	}
	return b.String()
}

func (r row) cells(base float64) []string {
	cell := func(format string, f func(sample) float64) string { return fmt.Sprintf(format, r.median(f)) }
	failures := 0
	for _, s := range r.samples {
		failures += s.errors
	}
	wrong := strconv.Itoa(failures)
	if r.failed > 0 {
		wrong += fmt.Sprintf(", and %d turns failed", r.failed)
	}
	if r.candidate.lacks != "" {
		wrong = r.candidate.lacks
	}
	if len(r.samples) == 0 {
		return append(append([]string{r.candidate.name}, slices.Repeat([]string{"-"}, 10)...), wrong)
	}
	ratio := "-"
	if base > 0 {
		ratio = fmt.Sprintf("%.2f", r.median(sample.perCPU)/base)
	}
	allocs, bytes := "-", "-"
	if r.samples[0].counted {
		allocs = cell("%.1f", func(s sample) float64 { return s.allocs })
		bytes = cell("%.0f", func(s sample) float64 { return s.bytes })
	}
	return []string{
		r.candidate.name,
		cell("%.0f", func(s sample) float64 { return s.rate }),
		cell("%.0f", sample.perCPU),
		ratio,
		fmt.Sprintf("±%.1f%%", 100*spread(r.values(sample.perCPU))),
		cell("%.1f", func(s sample) float64 { return 1e6 / s.perCPU() }),
		cell("%.2f", func(s sample) float64 { return s.p50.Seconds() * 1e3 }),
		cell("%.2f", func(s sample) float64 { return s.p99.Seconds() * 1e3 }),
		cell("%.0f", func(s sample) float64 { return s.resident }),
		allocs, bytes, wrong,
	}
}
