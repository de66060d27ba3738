package config

// SetDefaults fills every field that is not set.
func SetDefaults(a *DedicatedCPUArgs) {
	setDefault(&a.APIVersion, APIVersion)
	setDefault(&a.Kind, Kind)
	setDefault(&a.ScoringStrategy, LeastFragmentation)
	setDefault(&a.ScoreRange, 5)
	setDefault(&a.NodesWithoutExactReport, Estimate)
	setDefault(&a.CPUManagerNodes, Required)
	setDefault(&a.OtherPods, Predict)
}

func setDefault[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}
