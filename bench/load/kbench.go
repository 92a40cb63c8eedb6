// kbench drives any Kubernetes-compatible API server over plain HTTP/1.1+TLS and prints one line per
// figure, so that two servers can be measured by the same client in one run.
// usage: kbench -server https://127.0.0.1:6443 -token T [-ns kbench] [-secs 4] [-conc 16] [-watchers 100] [-only get,list,...]
package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

var server, token, ns, only, name, clientCert, clientKey string
var secs, conc, watchers, objs int
var keep bool
var hc *http.Client

func do(method, path, ctype string, body []byte) (int, []byte, error) {
	var rd io.Reader
	if body != nil {
		rd = bytes.NewReader(body)
	}
	req, err := http.NewRequest(method, server+path, rd)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	req.Header.Set("Accept", "application/json")
	if ctype != "" {
		req.Header.Set("Content-Type", ctype)
	}
	resp, err := hc.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	into := buffers.Get().(*bytes.Buffer)
	into.Reset()
	defer buffers.Put(into)
	if _, err = into.ReadFrom(resp.Body); err != nil {
		return resp.StatusCode, nil, err
	}
	if n := into.Len(); n <= 4096 { // what the caller looks into is short; a list is only read to its end
		return resp.StatusCode, append([]byte(nil), into.Bytes()...), nil
	}
	return resp.StatusCode, nil, nil
}

// buffers are kept: growing a new one for each list of 1.7 MB cost the client more than the answer cost the server.
var buffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func pct(d []float64, p float64) float64 {
	if len(d) == 0 {
		return 0
	}
	sort.Float64s(d)
	i := int(p * float64(len(d)-1))
	return d[i]
}

// load runs f from conc workers for the given time (or n calls in all when n>0).
func load(label string, n int, f func(i int) error) {
	var next, fails int64
	var mu sync.Mutex
	var lat []float64
	start := time.Now()
	deadline := start.Add(time.Duration(secs) * time.Second)
	var wg sync.WaitGroup
	for w := 0; w < conc; w++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var mine []float64
			for {
				i := atomic.AddInt64(&next, 1)
				if n > 0 && i > int64(n) || n == 0 && time.Now().After(deadline) {
					break
				}
				t := time.Now()
				if err := f(int(i)); err != nil {
					if atomic.AddInt64(&fails, 1) == 1 {
						fmt.Fprintln(os.Stderr, label, "first failure:", err)
					}
				}
				mine = append(mine, time.Since(t).Seconds()*1000)
			}
			mu.Lock()
			lat = append(lat, mine...)
			mu.Unlock()
		}()
	}
	wg.Wait()
	el := time.Since(start).Seconds()
	fmt.Printf("%s %-8s %9.0f /s  p50 %7.2f ms  p99 %7.2f ms  n=%d fails=%d\n", name, label, float64(len(lat))/el, pct(lat, .5), pct(lat, .99), len(lat), fails)
}

func cm(n string, size int) []byte {
	return []byte(fmt.Sprintf(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s","labels":{"app":"kbench"}},"data":{"v":"%s"}}`, n, strings.Repeat("y", size)))
}

func want(codes ...int) func(int, []byte, error) error {
	return func(c int, b []byte, err error) error {
		if err != nil {
			return err
		}
		for _, k := range codes {
			if c == k {
				return nil
			}
		}
		if len(b) > 200 {
			b = b[:200]
		}
		return fmt.Errorf("status %d: %s", c, b)
	}
}

func on(s string) bool { return only == "" || strings.Contains(","+only+",", ","+s+",") }

func main() {
	flag.StringVar(&server, "server", "", "")
	flag.StringVar(&token, "token", "", "")
	flag.StringVar(&clientCert, "cert", "", "client certificate file")
	flag.StringVar(&clientKey, "key", "", "client key file")
	flag.StringVar(&ns, "ns", "kbench", "")
	flag.StringVar(&only, "only", "", "")
	flag.StringVar(&name, "name", "server", "")
	flag.IntVar(&secs, "secs", 4, "")
	flag.IntVar(&conc, "conc", 16, "")
	flag.IntVar(&watchers, "watchers", 100, "")
	flag.IntVar(&objs, "objs", 1000, "")
	flag.BoolVar(&keep, "keep", false, "measure on the objects an earlier run created: do not delete them first")
	flag.Parse()
	tc := &tls.Config{InsecureSkipVerify: true}
	if clientCert != "" {
		c, err := tls.LoadX509KeyPair(clientCert, clientKey)
		if err != nil {
			panic(err)
		}
		tc.Certificates = []tls.Certificate{c}
	}
	tr := &http.Transport{TLSClientConfig: tc, MaxIdleConnsPerHost: 2000, MaxConnsPerHost: 0, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	hc = &http.Client{Transport: tr}
	base := "/api/v1/namespaces/" + ns + "/configmaps"
	if !keep {
		do("POST", "/api/v1/namespaces", "application/json", []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+ns+`"}}`))
		time.Sleep(500 * time.Millisecond)
		do("DELETE", base, "", nil)
	}
	if on("create") {
		load("create", objs, func(i int) error {
			return want(201)(do("POST", base, "application/json", cm(fmt.Sprintf("o%d", i), 1500)))
		})
	}
	if on("get") {
		load("get", 0, func(i int) error { return want(200)(do("GET", fmt.Sprintf("%s/o%d", base, i%objs+1), "", nil)) })
	}
	if on("list") {
		oc := conc
		conc = 4
		load("list", 0, func(i int) error { return want(200)(do("GET", base, "", nil)) })
		conc = oc
	}
	if on("patch") {
		load("patch", objs, func(i int) error {
			return want(200)(do("PATCH", fmt.Sprintf("%s/o%d", base, i), "application/merge-patch+json", []byte(`{"metadata":{"labels":{"step":"two"}}}`)))
		})
	}
	if on("watch") {
		fanout(base)
	}
	if on("delete") {
		load("delete", objs, func(i int) error { return want(200)(do("DELETE", fmt.Sprintf("%s/o%d", base, i), "", nil)) })
	}
}

// fanout opens W watches, then creates objects at full speed and times every delivery.
func fanout(base string) {
	_, b, _ := do("GET", base+"?limit=1", "", nil)
	var l struct {
		Metadata struct{ ResourceVersion string }
	}
	json.Unmarshal(b, &l)
	const events = 200
	var sent sync.Map
	var mu sync.Mutex
	var lat []float64
	var got int64
	var ready sync.WaitGroup
	done := make(chan bool, watchers)
	for w := 0; w < watchers; w++ {
		ready.Add(1)
		go func() {
			req, _ := http.NewRequest("GET", server+base+"?watch=true&resourceVersion="+l.Metadata.ResourceVersion, nil)
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			resp, err := hc.Do(req)
			ready.Done()
			if err != nil {
				fmt.Fprintln(os.Stderr, "watch:", err)
				done <- true
				return
			}
			sc := bufio.NewScanner(resp.Body)
			sc.Buffer(make([]byte, 1<<20), 1<<20)
			n := 0
			var mine []float64
			for sc.Scan() {
				now := time.Now()
				line := sc.Bytes()
				if i := bytes.Index(line, []byte(`"name":"w`)); i >= 0 {
					nm := string(line[i+8 : i+8+bytes.IndexByte(line[i+8:], '"')])
					if t, ok := sent.Load(nm); ok {
						mine = append(mine, now.Sub(t.(time.Time)).Seconds()*1000)
					}
					atomic.AddInt64(&got, 1)
					if n++; n == events {
						break
					}
				}
			}
			mu.Lock()
			lat = append(lat, mine...)
			mu.Unlock()
			resp.Body.Close()
			done <- true
		}()
	}
	ready.Wait()
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	var next int64
	for w := 0; w < 8; w++ {
		go func() {
			for {
				i := atomic.AddInt64(&next, 1)
				if i > events {
					return
				}
				nm := fmt.Sprintf("w%d", i)
				sent.Store(nm, time.Now())
				if err := want(201)(do("POST", base, "application/json", cm(nm, 500))); err != nil {
					fmt.Fprintln(os.Stderr, "create:", err)
				}
			}
		}()
	}
	to := time.After(60 * time.Second)
	for w := 0; w < watchers; w++ {
		select {
		case <-done:
		case <-to:
			fmt.Fprintln(os.Stderr, "watch: timed out, delivered", atomic.LoadInt64(&got))
			w = watchers
		}
	}
	el := time.Since(start).Seconds()
	mu.Lock()
	fmt.Printf("%s %-8s %9.0f /s  p50 %7.2f ms  p99 %7.2f ms  n=%d watchers=%d\n", name, "watch", float64(atomic.LoadInt64(&got))/el, pct(lat, .5), pct(lat, .99), got, watchers)
	mu.Unlock()
}
