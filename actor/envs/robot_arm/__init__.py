"""RobotArm-v0: its dynamics, its Gymnasium environments, its pictures."""
