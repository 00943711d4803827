package revocations

import (
	"encoding/json"

	"github.com/chancery-authority/chancery/api/reseal"
)

// Store is the bucket of jobs, to be sealed anew. A running one is left to who
// works on it, and writes it every moment.
func (r *Runner) Store() reseal.Store {
	return reseal.Store{Name: "revocations", Bucket: r.jobs.bucket, Reseal: r.jobs.reseal}
}

func (j *jobs) reseal(id string, value []byte) (anew []byte, by string, err error) {
	anew, by, err = j.sealer.Reseal(value, []byte(id))
	if err != nil {
		return nil, by, err
	}
	text, err := j.sealer.Open(anew, []byte(id))
	if err != nil {
		return nil, by, err
	}
	var job Job
	if err := json.Unmarshal(text, &job); err != nil {
		return nil, by, err
	}
	if job.State == Running {
		return value, by, nil
	}
	return anew, by, nil
}
