// A thousand goroutines that pass numbers along, compute, allocate and sleep.
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func main() {
	const count = 1000
	var sum, allocated atomic.Int64
	var group sync.WaitGroup
	first := make(chan int)
	in := first
	for n := 0; n < count; n++ {
		out := make(chan int)
		go func(in, out chan int) {
			for v := range in {
				out <- v + 1
			}
			close(out)
		}(in, out)
		in = out
	}
	go func() {
		for n := 0; n < 20; n++ {
			first <- n
		}
		close(first)
	}()
	total := 0
	for v := range in {
		total += v
	}
	fmt.Println("ring:", total)
	for n := 0; n < count; n++ {
		group.Add(1)
		go func(n int) {
			defer group.Done()
			x := uint32(n)
			for i := 0; i < 2000; i++ {
				x = x*1664525 + 1013904223
			}
			parts := make([][]byte, 0, 8)
			for i := 0; i < 8; i++ {
				parts = append(parts, make([]byte, 1024))
			}
			allocated.Add(int64(len(parts) * len(parts[0])))
			time.Sleep(time.Duration(x%10) * time.Millisecond)
			sum.Add(int64(x % 1000))
			runtime.Gosched()
		}(n)
	}
	group.Wait()
	runtime.GC()
	fmt.Println("sum:", sum.Load(), "allocated:", allocated.Load(), "cpus:", runtime.NumCPU())
	timer := time.NewTimer(20 * time.Millisecond)
	select {
	case <-timer.C:
		fmt.Println("timer")
	case <-time.After(10 * time.Second):
		fmt.Println("late")
	}
	defer func() {
		fmt.Println("recovered:", recover() != nil)
		os.Exit(3)
	}()
	var nothing *struct{ field int }
	fmt.Println(nothing.field)
}
