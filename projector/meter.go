package projector

import "time"

// A meter is how fast a worker comes on, over the last few seconds.
type meter struct {
	at               time.Time
	position, behind uint64
	// speed is events a second, and closing by how many the head comes nearer.
	speed, closing float64
}

// meterWeight is that of the newest second.
const meterWeight = 0.3

func (m *meter) sample(now time.Time, position, head uint64) {
	last := *m
	m.at, m.position, m.behind = now, position, max(head, position)-position
	seconds := now.Sub(last.at).Seconds()
	if last.at.IsZero() || seconds <= 0 || position < last.position {
		m.speed, m.closing = 0, 0
		return
	}
	speed := float64(position-last.position) / seconds
	closing := (float64(last.behind) - float64(m.behind)) / seconds
	if last.speed == 0 {
		m.speed, m.closing = speed, closing
		return
	}
	m.speed += meterWeight * (speed - m.speed)
	m.closing += meterWeight * (closing - m.closing)
}

// left is how long it takes to reach the head, 0 if that cannot be told.
func (m *meter) left() time.Duration {
	if m.closing <= 0 || m.behind == 0 {
		return 0
	}
	return time.Duration(float64(m.behind) / m.closing * float64(time.Second))
}
