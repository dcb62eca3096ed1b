package api

func (s *Server) routeReports() {}
