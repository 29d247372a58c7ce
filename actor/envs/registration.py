"""The environments that come with dppo, by their Gymnasium ids. Importing this registers them and loads none of them.

`gymnasium.make("dppo.actor.envs.registration:RobotArm-v0")` finds them from anywhere.
"""

import gymnasium as gym

ROBOT_ARM_STEPS = 300

gym.register(
    id="RobotArm-v0",
    entry_point="dppo.actor.envs.robot_arm.env:RobotArmEnv",
    vector_entry_point="dppo.actor.envs.robot_arm.vector_env:RobotArmVectorEnv",
    max_episode_steps=ROBOT_ARM_STEPS,
)
