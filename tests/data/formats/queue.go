// Package queue holds the cars that wait.
package queue

import (
	"errors"
	"sync"
)

// ErrFull says that no car fits.
var ErrFull = errors.New("full")

const (
	lanes  = 3
	places = 20
)

// Queue is a lane of cars.
type Queue[T any] struct {
	mu   sync.Mutex
	cars []T
}

type (
	// Car is one car.
	Car struct {
		Plate string
	}
	Plate = string
)

// Push adds a car.
func (q *Queue[T]) Push(car T) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.cars) == places {
		return ErrFull
	}
	q.cars = append(q.cars, car)
	return nil
}

func (q *Queue[T]) Len() int { return len(q.cars) }

func New[T any]() *Queue[T] {
	return &Queue[T]{}
}
