// The rows of green threads in Go: see bench/c/hub_rows.h, whose command line
// and output these are.
//
// Time is the CPU time of the process, the collector's included; GOMAXPROCS
// is to be 1, but for the round trip between two threads, where it is 2.
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

var quick bool

type result struct {
	unit    string
	samples []float64
	note    map[string]float64
}

func clock(id uintptr) int64 {
	var t syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id,
		uintptr(unsafe.Pointer(&t)), 0)
	return t.Nano()
}

const processCPU, monotonic = 2, 1

func timed(batch func(int), ops int) int64 {
	start := clock(processCPU)
	batch(ops)
	return clock(processCPU) - start
}

func measureBy(step int, batch func(int)) result {
	roundUp := func(ops int) int { return (ops + step - 1) / step * step }
	aim, samples := int64(25000000), 9
	if quick {
		aim, samples = 5000000, 3
	}
	ops := roundUp(1000)
	var taken int64
	for ; ; ops *= 2 {
		taken = timed(batch, ops)
		if taken >= aim/4 {
			break
		}
	}
	ops = roundUp(int(float64(ops)*float64(aim)/float64(taken)) + 1)
	got := result{unit: "ns"}
	for i := 0; i < samples; i++ {
		taken = timed(batch, ops)
		got.samples = append(got.samples, float64(taken)/float64(ops))
	}
	return got
}

func measure(batch func(int)) result { return measureBy(1, batch) }

func yield(count int) result {
	for i := 1; i < count; i++ {
		go func() {
			for {
				runtime.Gosched()
			}
		}()
	}
	batch := func(ops int) {
		for done := 0; done < ops; done += count {
			runtime.Gosched()
		}
	}
	batch(count * 2)
	return measureBy(count, batch)
}

func spawn() result {
	return measure(func(ops int) {
		ended := make(chan struct{})
		for i := 0; i < ops; i++ {
			go func() { ended <- struct{}{} }()
			<-ended
		}
	})
}

func spawnAndJoin(count int) {
	var all sync.WaitGroup
	for i := 0; i < count; i++ {
		all.Add(1)
		go func() {
			runtime.Gosched()
			all.Done()
		}()
	}
	all.Wait()
}

const alive = 1000

func spawnAlive() result {
	return measureBy(alive, func(ops int) {
		for done := 0; done < ops; done += alive {
			spawnAndJoin(alive)
		}
	})
}

func spawnMany() result {
	count := 100000
	if quick {
		count = 10000
	}
	got := result{unit: "ns"}
	for i := 0; i < 3; i++ {
		taken := timed(spawnAndJoin, count)
		got.samples = append(got.samples, float64(taken)/float64(count))
	}
	return got
}

func rss() float64 {
	text, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.Atoi(strings.Fields(string(text))[1])
	return float64(pages * os.Getpagesize())
}

func sleep() result {
	count, samples := 100000, 3
	if quick {
		count, samples = 10000, 1
	}
	ms := make([]int, count)
	state := uint64(88172645463325252) // the same numbers for all
	for i := range ms {
		state ^= state << 13
		state ^= state >> 7
		state ^= state << 17
		ms[i] = 1 + int((state>>32)%1000)
	}
	before, during := rss(), 0.0
	batch := func(ops int) {
		var all sync.WaitGroup
		for i := 0; i < ops; i++ {
			all.Add(1)
			go func(ms int) {
				time.Sleep(time.Duration(ms) * time.Millisecond)
				all.Done()
			}(ms[i])
		}
		runtime.Gosched()
		during = rss()
		all.Wait()
	}
	got := result{unit: "ns", note: map[string]float64{}}
	for i := 0; i < samples; i++ {
		taken := timed(batch, count)
		got.samples = append(got.samples, float64(taken)/float64(count))
		if i == 0 {
			got.note["RSS_of_each"] = (during - before) / float64(count)
		}
	}
	return got
}

var mutex sync.Mutex

func mutexFree() result {
	return measure(func(ops int) {
		for i := 0; i < ops; i++ {
			mutex.Lock()
			mutex.Unlock()
		}
	})
}

func mutexHeld(count int) result {
	held := 0
	hold := func() {
		mutex.Lock()
		held++
		runtime.Gosched()
		mutex.Unlock()
	}
	for i := 1; i < count; i++ {
		go func() {
			for {
				hold()
			}
		}()
	}
	return measure(func(ops int) {
		held = 0
		for held < ops {
			hold()
		}
	})
}

// A buffered channel is Go's counting semaphore.
type tickets chan struct{}

func newTickets() tickets { return make(tickets, 1<<20) }

func ticketsFree() result {
	t := newTickets()
	return measure(func(ops int) {
		for i := 0; i < ops; i++ {
			t <- struct{}{}
			<-t
		}
	})
}

func wake() result {
	ping, pong := newTickets(), newTickets()
	go func() {
		for {
			<-ping
			pong <- struct{}{}
		}
	}()
	return measure(func(ops int) {
		for i := 0; i < ops; i += 2 {
			ping <- struct{}{}
			<-pong
		}
	})
}

// With one timer that is set again for each wait.
func takeTimed(t tickets, timer *time.Timer) {
	timer.Reset(10 * time.Second)
	select {
	case <-t:
	case <-timer.C:
		panic("timed out")
	}
	timer.Stop()
}

func wakeTimed() result {
	ping, pong := newTickets(), newTickets()
	go func() {
		timer := time.NewTimer(time.Hour)
		for {
			takeTimed(ping, timer)
			pong <- struct{}{}
		}
	}()
	timer := time.NewTimer(time.Hour)
	return measure(func(ops int) {
		for i := 0; i < ops; i += 2 {
			ping <- struct{}{}
			takeTimed(pong, timer)
		}
	})
}

func gate() result {
	const waiters = 10000
	var lock sync.Mutex
	opened := sync.NewCond(&lock)
	for i := 0; i < waiters; i++ {
		go func() {
			lock.Lock()
			for {
				opened.Wait()
			}
		}()
	}
	for i := 0; i < 3; i++ {
		runtime.Gosched()
	}
	return measureBy(waiters, func(ops int) {
		for done := 0; done < ops; done += waiters {
			opened.Broadcast()
			runtime.Gosched()
		}
	})
}

func channel() result {
	there, back := make(chan *int), make(chan *int)
	go func() {
		for {
			back <- <-there
		}
	}()
	item := new(int)
	return measure(func(ops int) {
		for i := 0; i < ops; i += 2 {
			there <- item
			if <-back != item {
				panic("another item came back")
			}
		}
	})
}

func channelStream(capacity int) result {
	there := make(chan *int, capacity)
	item := new(int)
	go func() {
		for {
			there <- item
		}
	}()
	return measure(func(ops int) {
		for i := 0; i < ops; i++ {
			if <-there != item {
				panic("another item was got")
			}
		}
	})
}

// Each side keeps an OS thread to itself.
func roundTrip() result {
	runtime.GOMAXPROCS(2)
	ping, pong := make(tickets, 1), make(tickets, 1)
	go func() {
		runtime.LockOSThread()
		for {
			<-ping
			pong <- struct{}{}
		}
	}()
	runtime.LockOSThread()
	ops, samples := 20000, 9
	if quick {
		ops, samples = 2000, 3
	}
	batch := func(ops int) {
		for i := 0; i < ops; i++ {
			ping <- struct{}{}
			<-pong
		}
	}
	batch(100)
	got := result{unit: "ns", note: map[string]float64{}}
	cpu := clock(processCPU)
	for i := 0; i < samples; i++ {
		start := clock(monotonic)
		batch(ops)
		taken := clock(monotonic) - start
		got.samples = append(got.samples, float64(taken)/float64(ops))
	}
	got.note["CPU_of_all"] = float64(clock(processCPU)-cpu) /
		float64(ops*samples)
	return got
}

var rows = map[string]func() result{
	"version": func() result {
		return result{unit: strings.TrimPrefix(runtime.Version(), "go")}
	},
	"yield_2":     func() result { return yield(2) },
	"yield_100":   func() result { return yield(100) },
	"yield_10k":   func() result { return yield(10000) },
	"spawn":       spawn,
	"spawn_alive": spawnAlive,
	"spawn_many":  spawnMany,
	"sleep":       sleep,
	"mutex":       mutexFree,
	"mutex_2":     func() result { return mutexHeld(2) },
	"mutex_100":   func() result { return mutexHeld(100) },
	"tickets":     ticketsFree,
	"wake":        wake,
	"wake_timed":  wakeTimed,
	"gate":        gate,
	"channel":     channel,
	"channel_0":   func() result { return channelStream(0) },
	"channel_127": func() result { return channelStream(127) },
	"round_trip":  roundTrip,
}

func main() {
	quick = len(os.Args) == 3 && os.Args[2] == "--quick"
	var row func() result
	if len(os.Args) > 1 {
		row = rows[os.Args[1]]
	}
	if row == nil || (len(os.Args) > 2 && !quick) {
		fmt.Fprintln(os.Stderr, "usage: hub ROW [--quick]")
		os.Exit(2)
	}
	got := row()
	text := func(value float64) string {
		return strconv.FormatFloat(value, 'f', 4, 64)
	}
	var samples, note []string
	for _, sample := range got.samples {
		samples = append(samples, text(sample))
	}
	for name, value := range got.note {
		note = append(note, strconv.Quote(name)+": "+text(value))
	}
	fmt.Printf("{\"unit\": %q, \"samples\": [%s], \"note\": {%s}}\n",
		got.unit, strings.Join(samples, ", "), strings.Join(note, ", "))
}
