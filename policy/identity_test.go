package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/gatehouse-go/gateway/policy"
)

func TestConsumerValidate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		consumer *policy.Consumer
		want     string // "" for none
	}{
		{&policy.Consumer{ID: "1"}, ""},
		{&policy.Consumer{ID: "1", Username: "Ann Ö", CustomID: "a\tb,c", Groups: []string{"staff", "a b"}, Tags: []string{"", "\n"}}, ""},
		{nil, "policy: Consumer is nil; give one with an ID"},
		{&policy.Consumer{Username: "ann"}, `policy: Consumer.ID is empty (Username "ann"); give one that stays: limits and logs need it`},
		{&policy.Consumer{ID: "1\r\nX: y"}, `policy: Consumer.ID "1\r\nX: y" cannot be sent in a header field; use no control characters, and no white space at the ends`},
		{&policy.Consumer{ID: " "}, `policy: Consumer.ID " " cannot be sent`},
		{&policy.Consumer{ID: "1", Username: "a\nb"}, `policy: Consumer.Username "a\nb" cannot be sent`},
		{&policy.Consumer{ID: "1", CustomID: "a\x7f"}, `policy: Consumer.CustomID "a\x7f" cannot be sent`},
		{&policy.Consumer{ID: "1", Groups: []string{"a", ""}}, `policy: Consumer.Groups[1] "" is empty; a group has a name`},
		{&policy.Consumer{ID: "1", Groups: []string{"a,b"}}, `policy: Consumer.Groups[0] "a,b" has a comma, which separates groups; list each group on its own`},
		{&policy.Consumer{ID: "1", Groups: []string{"a\x00"}}, `policy: Consumer.Groups[0] "a\x00" cannot be sent`},
		{&policy.Consumer{ID: "1", Groups: []string{"a "}}, `policy: Consumer.Groups[0] "a " cannot be sent`},
	} {
		err := c.consumer.Validate()
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, c.want)
		require.NotContains(t, err.Error(), "\n", "one mistake is one problem")
	}
	err := (&policy.Consumer{Username: " a", CustomID: "b ", Groups: []string{"", ","}}).Validate()
	require.Equal(t, 5, strings.Count(err.Error(), "policy: Consumer."), "all problems at once")
}
