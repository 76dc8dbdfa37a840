package main

import (
	"bytes"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestComparison(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	require.NoError(t, run(t.Context(), 4*time.Second, &out))
	t.Log(out.String())
	found := regexp.MustCompile(`goodput (\d+) %`).FindAllStringSubmatch(out.String(), -1)
	require.Len(t, found, 2)
	without, err := strconv.Atoi(found[0][1])
	require.NoError(t, err)
	with, err := strconv.Atoi(found[1][1])
	require.NoError(t, err)
	require.Greater(t, with, without)
	shares := regexp.MustCompile(`([0-9.]+) % answered`).FindAllStringSubmatch(out.String(), -1)
	require.Len(t, shares, 4)
	gold, err := strconv.ParseFloat(shares[2][1], 64)
	require.NoError(t, err)
	plain, err := strconv.ParseFloat(shares[3][1], 64)
	require.NoError(t, err)
	require.Greater(t, gold, plain, "who pays comes first")
	require.Regexp(t, `the limit is \d+, 10 workers are there`, out.String())
}
