package scenarios
func (g *generator) attacks() {}
