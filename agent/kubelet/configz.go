// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	kubeletconfig "k8s.io/kubelet/config/v1beta1"
)

// ConfigzOptions are the address of the kubelet and the identity with which it is asked for its configuration.
type ConfigzOptions struct {
	// Address gives host:port of the node's kubelet and the names its certificate may be for; an error
	// says why that is not known.
	Address func() (address string, names []string, err error)
	// Trust says which certificates are the kubelet's.
	Trust Trust
	// Authenticate wraps the connection so that requests carry the agent's service-account token. The token
	// goes out only after the certificate has been verified.
	Authenticate func(http.RoundTripper) (http.RoundTripper, error)
}

// askConfigz asks the kubelet what it runs with. Every question is a connection of its own: questions are
// rare, and the kubelet may have another address or certificate by the next one.
func askConfigz(ctx context.Context, o ConfigzOptions, certFile string) (Config, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	address, names, err := o.Address()
	if err != nil {
		return Config{}, err
	}
	transport := &http.Transport{TLSClientConfig: o.Trust.tlsConfig(certFile, names), DisableKeepAlives: true}
	authenticated, err := o.Authenticate(transport)
	if err != nil {
		return Config{}, err
	}
	client := &http.Client{
		Transport: authenticated,
		// The token is for this kubelet and for nobody it names.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	url := "https://" + address + "/configz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Config{}, fmt.Errorf("asking %s: %w", url, err)
	}
	response, err := client.Do(request)
	if err != nil {
		return Config{}, fmt.Errorf("asking %s: %w", url, steady(err))
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return Config{}, fmt.Errorf("asking %s: %s", url, refusal(response))
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxFileSize))
	if err != nil {
		return Config{}, fmt.Errorf("asking %s: %w", url, steady(err))
	}
	c, err := parseConfigz(data)
	if err != nil {
		return Config{}, fmt.Errorf("asking %s: %w", url, err)
	}
	return c, nil
}

// refusal says what an answer other than OK means, and what to do about it.
func refusal(response *http.Response) string {
	switch response.StatusCode {
	case http.StatusUnauthorized:
		return "401: the kubelet does not take service-account tokens; set authentication.webhook.enabled in its configuration"
	case http.StatusForbidden:
		return "403: the kubelet does not let this agent read its configuration; one before 1.36 with feature gate KubeletFineGrainedAuthz off asks for more than nodes/configz, which is not given"
	case http.StatusNotFound:
		return "404: the kubelet does not serve its configuration; set enableDebuggingHandlers in its configuration"
	default:
		return response.Status
	}
}

// steady gives an error without what differs from one try to the next, such as our own port: a message
// that changes would be a report that changes.
func steady(err error) error {
	var timeout net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("no answer within %s", askTimeout)
	case errors.As(err, &op):
		return op.Err
	default:
		return err
	}
}

// parseConfigz reads what the kubelet answers: its KubeletConfiguration under one key (component-base
// configz, and initConfigz in cmd/kubelet/app/server.go, v1.36.3), with kind and version since 1.36 only.
func parseConfigz(data []byte) (Config, error) {
	var answer struct {
		KubeletConfig *kubeletconfig.KubeletConfiguration `json:"kubeletconfig"`
	}
	if err := json.Unmarshal(data, &answer); err != nil {
		return Config{}, fmt.Errorf("reading the answer: %w", err)
	}
	if answer.KubeletConfig == nil {
		return Config{}, errors.New("the answer has no kubeletconfig; is this the kubelet's port?")
	}
	return configOf(answer.KubeletConfig)
}
