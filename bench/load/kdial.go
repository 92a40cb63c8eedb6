// kdial measures what a new TCP connection costs: "-serve :8080" accepts and closes; otherwise it opens and closes
// connections to each address in turns and prints one line per address and round: "<address> <connections per second>".
// usage: kdial -serve :8080 | kdial [-count 2000] [-conc 4] [-rounds 9] 10.0.0.1:8080 10.96.0.1:80
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

func serve(address string) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		if connection, err := listener.Accept(); err == nil {
			connection.Close()
		}
	}
}

// dial opens one connection and waits until the server has closed it: the client's side must not keep the port.
func dial(address string) bool {
	connection, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		return false
	}
	connection.Read(make([]byte, 1))
	connection.Close()
	return true
}

func measure(address string, count, conc int) float64 {
	var group sync.WaitGroup
	began := time.Now()
	for worker := 0; worker < conc; worker++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := 0; n < count/conc; n++ {
				if !dial(address) {
					fmt.Fprintln(os.Stderr, address, "refused or timed out")
					os.Exit(1)
				}
			}
		}()
	}
	group.Wait()
	return float64(count) / time.Since(began).Seconds()
}

func main() {
	listen := flag.String("serve", "", "address to accept connections at")
	count := flag.Int("count", 2000, "connections per round")
	conc := flag.Int("conc", 4, "at the same time")
	rounds := flag.Int("rounds", 9, "turns")
	flag.Parse()
	if *listen != "" {
		serve(*listen)
	}
	for _, address := range flag.Args() { // until the rules are everywhere
		for n := 0; n < 100 && !dial(address); n++ {
			time.Sleep(50 * time.Millisecond)
		}
	}
	for n := 0; n < *rounds; n++ {
		for _, address := range flag.Args() {
			fmt.Printf("%s %.0f\n", address, measure(address, *count, *conc))
		}
	}
}
