"""Racing on CARLA servers, through the client of CARLA 0.9.16."""
