package dialer

import "time"

// A Role is what a user or an API key may do.
type Role string

// The roles, from least to most.
const (
	RoleAgent      Role = "agent"
	RoleSupervisor Role = "supervisor"
	RoleManager    Role = "manager"
	RoleCompliance Role = "compliance"
	RoleAdmin      Role = "admin"
)

// Roles lists every role.
func Roles() []Role {
	return []Role{RoleAgent, RoleSupervisor, RoleManager, RoleCompliance, RoleAdmin}
}

// Valid reports whether r is a known role.
func (r Role) Valid() bool {
	for _, k := range Roles() {
		if r == k {
			return true
		}
	}
	return false
}

// A User is someone who may use the API, in person or by a key.
type User struct {
	ID    UserID
	Name  string
	Role  Role
	Agent AgentID // set when the user works as an agent
}

// An APIKey is a program's key without its secret.
type APIKey struct {
	ID        KeyID
	Name      string
	Role      Role
	CreatedAt time.Time
}

// An Answer is an HTTP response that is given again when a request with the
// same Idempotency-Key comes again.
type Answer struct {
	Status   int
	Type     string
	Location string
	ETag     string
	Body     []byte
}
